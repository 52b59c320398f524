// The gradients of a step, tensor by tensor as the optimizer gets them, whatever the schedule and
// the layout: against plain accumulation in this file, one stage and one micro-batch after another.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <mutex>

#include "runtime/worker/engine.h"
#include "tests/runtime/engine_world.h"

namespace weft::runtime {
namespace {

using dualpipe::Kind;
using Gradients = std::map<std::string, std::vector<float>>;

constexpr std::uint64_t kSeed = 3;
constexpr int kMicroBatches = 16;  // the fewest that DualPipe and DualPipeV take at P = 8

/// A layer for each of the 16 stages that the V kinds make of 8 positions.
trainer::ModelConfig narrow_model(int layers = 16) {
  trainer::ModelConfig model = tiny_model(layers);
  model.vocab_size = 32;
  model.hidden_size = 16;
  model.intermediate_size = 24;
  model.moe_intermediate_size = 8;
  model.num_attention_heads = 2;
  model.q_lora_rank = model.kv_lora_rank = 8;
  return model;
}

std::vector<trainer::MicroBatch> batch_of(const trainer::ModelConfig& model) {
  return random_batch(11, 0, kMicroBatches, kMicroBatches, model.vocab_size);
}

void must(const Expected<void>& result) { ASSERT_TRUE(result) << result.error().message; }

void accumulate(trainer::StageModel& model, int slot) {
  const auto moe = [&](int layer) { return model.config().is_moe(layer); };
  model.embed(slot);
  for (int l = 0; l < model.spec().num_layers; ++l) {
    model.attention(slot, l);
    if (moe(l)) must(model.begin_dispatch(slot, l));
    if (moe(l)) must(model.end_dispatch(slot, l));
    model.experts(slot, l);
    if (moe(l)) must(model.begin_combine(slot, l));
    if (moe(l)) must(model.end_combine(slot, l));
  }
  model.head(slot);
  model.head_backward_input(slot);
  model.head_backward_weights(slot);
  for (int l = model.spec().num_layers - 1; l >= 0; --l) {
    if (moe(l)) must(model.begin_combine_backward(slot, l));
    if (moe(l)) must(model.end_combine_backward(slot, l));
    model.experts_backward_input(slot, l);
    model.experts_backward_weights(slot, l);
    if (moe(l)) must(model.begin_dispatch_backward(slot, l));
    if (moe(l)) must(model.end_dispatch_backward(slot, l));
    model.attention_backward_input(slot, l);
    model.attention_backward_weights(slot, l);
  }
  model.embed_backward(slot);
  model.release(slot);
}

/// The whole model on one rank. The batch is cut into `parts` runs of micro-batches, each
/// accumulated from zero in ascending order, and the parts' sums are added in ascending order.
Gradients plain(const trainer::ModelConfig& config, int parts) {
  const auto transport = comm::make_self_transport();
  const std::vector<comm::GroupSpec> specs = {{"experts", {0}}};
  const auto groups = std::move(transport->make_groups(specs).value());
  trainer::kernels::Context context;
  trainer::StageModel model(config, {0, config.num_hidden_layers, true, true}, *groups[0], context,
                            256);
  model.initialize(kSeed);
  const auto batch = batch_of(config);
  model.set_micro_batches(batch);
  Gradients sum;
  trainer::ParameterSet& set = model.parameters();
  for (int part = 0; part < parts; ++part) {
    set.zero_gradients();
    for (int m = kMicroBatches * part / parts; m < kMicroBatches * (part + 1) / parts; ++m)
      accumulate(model, m);
    for (std::size_t i = 0; i < set.items().size(); ++i) {
      if (!set.items()[i].trainable) continue;
      const auto gradient = set.gradient(static_cast<int>(i));
      std::vector<float>& to = sum[set.items()[i].name];
      if (part == 0) to.assign(gradient.size(), 0.0f);
      for (std::size_t k = 0; k < to.size(); ++k)
        to[k] = part == 0 ? gradient[k] : to[k] + gradient[k];
    }
  }
  return sum;
}

/// One step of training in this layout.
Gradients of_step(const scheduler::Layout& layout, const trainer::ModelConfig& model,
                  trainer::Recompute recompute = trainer::Recompute::None) {
  EngineOptions options;
  options.layout = layout;
  options.model = model;
  options.max_tokens = 256;
  options.seed = kSeed;
  options.recompute = recompute;
  options.wait_bound = std::chrono::seconds(30);
  Gradients gradients;
  std::mutex mutex;
  on_every_rank(options, [&](Engine& engine) -> Expected<void> {
    engine.watch_gradients([&](const trainer::Parameter& item, std::span<const float> gradient) {
      const std::scoped_lock lock(mutex);
      const bool once =
          gradients.emplace(item.name, std::vector(gradient.begin(), gradient.end())).second;
      EXPECT_TRUE(once) << item.name << " has two owners";
    });
    const auto batch = batch_of(model);
    EXPECT_EQ(engine.num_micro_batches(), kMicroBatches);
    WEFT_TRY(engine.train(batch, 3e-3, 1, false));
    return {};
  });
  return gradients;
}

void expect_equal(const Gradients& a, const Gradients& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, gradient] : b) {
    const auto found = a.find(name);
    ASSERT_NE(found, a.end()) << name;
    EXPECT_TRUE(found->second == gradient) << name << " differs";
  }
}

/// |a - b| / |b| in the Euclidean norm over the tensors that `which` picks.
double distance(const Gradients& a, const Gradients& b,
                const std::function<bool(const std::string&)>& which) {
  double apart = 0, length = 0;
  for (const auto& [name, gradient] : b) {
    if (!which(name)) continue;
    const std::vector<float>& other = a.at(name);
    for (std::size_t k = 0; k < gradient.size(); ++k) {
      apart += std::pow(double(other[k]) - gradient[k], 2);
      length += std::pow(double(gradient[k]), 2);
    }
  }
  return std::sqrt(apart / length);
}

bool is_expert(const std::string& name) { return name.find(".experts.") != std::string::npos; }

/// Every kind of one flow of micro-batches that is legal at this P.
void expect_plain_gradients(int pipeline) {
  const trainer::ModelConfig model = narrow_model();
  static const Gradients want = plain(model, 1);
  for (const Kind kind : {Kind::GPipe, Kind::OneFOneB, Kind::Interleaved, Kind::ZeroBubble,
                          Kind::ZBV, Kind::DualPipeV}) {
    SCOPED_TRACE(std::string(dualpipe::to_string(kind)) + " P=" + std::to_string(pipeline));
    expect_equal(of_step({kind, pipeline, 1, 1, kMicroBatches}, model), want);
  }
}

TEST(EngineGradient, EveryOneDirectionalKindIsBitEqualToPlainAccumulationAtOnePosition) {
  expect_plain_gradients(1);
}

TEST(EngineGradient, EveryOneDirectionalKindIsBitEqualToPlainAccumulationAtTwoPositions) {
  expect_plain_gradients(2);
}

TEST(EngineGradient, EveryOneDirectionalKindIsBitEqualToPlainAccumulationAtFourPositions) {
  expect_plain_gradients(4);
}

TEST(EngineGradient, EveryOneDirectionalKindIsBitEqualToPlainAccumulationAtEightPositions) {
  expect_plain_gradients(8);
}

TEST(EngineGradient, DualPipeIsBitEqualToTheSumOfItsTwoHalfBatchAccumulations) {
  const trainer::ModelConfig model = narrow_model();
  const Gradients want = plain(model, 2);
  for (const int pipeline : {2, 4, 8}) {
    SCOPED_TRACE(pipeline);
    expect_equal(of_step({Kind::DualPipe, pipeline, 1, 1, kMicroBatches}, model), want);
  }
}

// Lanes without expert shards keep every product as it is: lane after lane.
TEST(EngineGradient, LanesAreBitEqualToTheSumOfTheirAccumulations) {
  const trainer::ModelConfig model = narrow_model(4);
  expect_equal(of_step({Kind::OneFOneB, 2, 2, 1, 8}, model), plain(model, 2));
  expect_equal(of_step({Kind::DualPipe, 2, 2, 1, 8}, model), plain(model, 4));
}

struct Sharded {
  const char* name;
  scheduler::Layout layout;
  int parts;  // lanes x directions
};

constexpr Sharded kSharded[] = {{"1f1b E=2", {Kind::OneFOneB, 2, 2, 2, 8}, 2},
                                {"dualpipev E=2", {Kind::DualPipeV, 2, 2, 2, 8}, 2},
                                {"dualpipe E=2", {Kind::DualPipe, 2, 2, 2, 8}, 4},
                                {"1f1b E=4", {Kind::OneFOneB, 1, 4, 4, 4}, 4},
                                {"dualpipe E=4", {Kind::DualPipe, 2, 4, 4, 4}, 8}};

TEST(EngineGradient, ExpertShardsReorderNothingButTheExpertsOwnRowsWhereATokenHasTwoExperts) {
  const trainer::ModelConfig model = narrow_model(4);
  for (const Sharded& run : kSharded) {
    SCOPED_TRACE(run.name);
    const Gradients want = plain(model, run.parts), got = of_step(run.layout, model);
    for (const auto& [name, gradient] : want) {
      if (is_expert(name)) continue;
      EXPECT_TRUE(got.at(name) == gradient) << name << " differs";
    }
    const double apart = distance(got, want, is_expert);
    printf("%s experts %.3g\n", run.name, apart);
    EXPECT_LT(apart, 1e-6);
  }
}

TEST(EngineGradient, ExpertShardsStayWithinAMillionthOfPlainAccumulation) {
  trainer::ModelConfig model = narrow_model(4);
  model.num_experts_per_tok = 4;
  for (const Sharded& run : kSharded) {
    SCOPED_TRACE(run.name);
    const Gradients want = plain(model, run.parts), got = of_step(run.layout, model);
    const double apart = distance(got, want, [](const std::string&) { return true; });
    printf("%s all %.3g\n", run.name, apart);
    double worst = 0;
    for (const auto& [name, g] : want) worst = std::max(worst, distance(got, want, [&](const std::string& n) { return n == name; }));
    printf("  worst tensor %.3g\n", worst);
    EXPECT_LT(apart, 1e-6);
  }
}

TEST(EngineGradient, RecomputationChangesNoBit) {
  const trainer::ModelConfig model = narrow_model(4);
  for (const scheduler::Layout& layout :
       {scheduler::Layout{Kind::ZeroBubble, 2, 1, 1, 16}, {Kind::DualPipe, 2, 2, 2, 8}}) {
    const Gradients want = of_step(layout, model);
    for (const auto recompute : {trainer::Recompute::MlaUp, trainer::Recompute::Full})
      expect_equal(of_step(layout, model, recompute), want);
  }
}

}  // namespace
}  // namespace weft::runtime
