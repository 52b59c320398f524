// The gradients of a step, tensor by tensor as the optimizer gets them, whatever the schedule and
// the layout: against plain accumulation in this file, one stage and one micro-batch after another.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <mutex>

#include "runtime/worker/engine.h"
#include "tests/runtime/engine_world.h"

namespace weft::runtime {
namespace {

using dualpipe::Kind;
using Gradients = std::map<std::string, std::vector<float>>;

constexpr std::uint64_t kSeed = 3;

trainer::ModelConfig narrow_model(int layers) {
  trainer::ModelConfig model = tiny_model(layers);
  model.vocab_size = 32;
  model.hidden_size = 16;
  model.intermediate_size = 24;
  model.moe_intermediate_size = 8;
  model.num_attention_heads = 2;
  model.q_lora_rank = model.kv_lora_rank = 8;
  return model;
}

/// One sequence a micro-batch.
std::vector<trainer::MicroBatch> batch_of(const trainer::ModelConfig& model, int micro_batches) {
  return random_batch(11, 0, micro_batches, micro_batches, model.vocab_size);
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

/// Plain accumulation: the whole model on one rank, one micro-batch after another.
class Plain {
 public:
  Plain(const trainer::ModelConfig& config, int micro_batches,
        trainer::Precision precision = trainer::Precision::F32)
      : batch_(batch_of(config, micro_batches)),
        model_(config, {0, config.num_hidden_layers, true, true}, *group_, context_, 256,
               trainer::Recompute::None, {}, precision) {
    model_.initialize(kSeed);
    model_.set_micro_batches(batch_);
  }

  /// Micro-batches [begin, begin + count), from zero, in ascending order.
  Gradients accumulated(int begin, int count) {
    trainer::ParameterSet& set = model_.parameters();
    set.zero_gradients();
    for (int m = begin; m < begin + count; ++m) accumulate(model_, m);
    Gradients sums;
    for (std::size_t i = 0; i < set.items().size(); ++i) {
      const auto gradient = set.gradient(static_cast<int>(i));
      if (!set.items()[i].trainable) continue;
      sums[set.items()[i].name].assign(gradient.begin(), gradient.end());
    }
    return sums;
  }

 private:
  static std::unique_ptr<comm::Communicator> alone(comm::Transport& transport) {
    const std::vector<comm::GroupSpec> specs = {{"experts", {0}}};
    return std::move(transport.make_groups(specs).value()[0]);
  }
  std::unique_ptr<comm::Transport> transport_ = comm::make_self_transport();
  std::unique_ptr<comm::Communicator> group_ = alone(*transport_);
  trainer::kernels::Context context_;
  std::vector<trainer::MicroBatch> batch_;
  trainer::StageModel model_;
};

int stage_of(const std::string& tensor, const scheduler::Placement& placement) {
  const std::string prefix = "model.layers.";
  if (tensor.starts_with("model.embed")) return 0;
  if (!tensor.starts_with(prefix)) return placement.num_stages() - 1;
  const int layer = std::stoi(tensor.substr(prefix.size()));
  int stage = 0;
  while (layer >= placement.stages[stage].first + placement.stages[stage].count) ++stage;
  return stage;
}

/// What each lane and direction accumulates, added up as the reduction adds: every tensor's terms
/// in ascending order of the ranks that hold its stage.
Gradients plain(const trainer::ModelConfig& config, const scheduler::Layout& layout,
                trainer::Precision precision = trainer::Precision::F32) {
  const scheduler::Placement placement = scheduler::place(layout, config.num_hidden_layers).value();
  const int directions = dualpipe::num_directions(layout.kind);
  Plain model(config, layout.data * layout.micro_batches, precision);
  std::map<std::pair<int, int>, Gradients> terms;
  for (int lane = 0; lane < layout.data; ++lane)
    for (int direction = 0; direction < directions; ++direction)
      terms[{lane, direction}] =
          model.accumulated(scheduler::micro_batch_index(layout, lane, direction, 0),
                            layout.micro_batches / directions);
  Gradients sums;
  for (const auto& [name, size] : terms[{0, 0}]) {
    const int stage = stage_of(name, placement);
    std::vector<float>& sum = sums[name];
    for (const int rank : placement.holders(stage)) {
      const scheduler::RankPlace& place = placement.ranks[rank];
      const int direction = directions == 2 && place.stages[0] != stage ? 1 : 0;
      const std::vector<float>& term = terms.at({place.lane, direction}).at(name);
      if (sum.empty())
        sum = term;
      else
        std::ranges::transform(sum, term, sum.begin(), std::plus());
    }
  }
  return sums;
}

/// One step of training in this layout.
Gradients of_step(const scheduler::Layout& layout, const trainer::ModelConfig& model,
                  trainer::Recompute recompute = trainer::Recompute::None,
                  trainer::Precision precision = trainer::Precision::F32) {
  EngineOptions options;
  options.precision = precision;
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
    const auto batch = batch_of(model, engine.num_micro_batches());
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
  // The V kinds make two stages of a position.
  const trainer::ModelConfig model = narrow_model(pipeline < 8 ? 8 : 16);
  const int count = 2 * std::max(4, pipeline);  // the fewest that DualPipeV takes
  const Gradients want = Plain(model, count).accumulated(0, count);
  for (const Kind kind : {Kind::GPipe, Kind::OneFOneB, Kind::Interleaved, Kind::ZeroBubble,
                          Kind::ZBV, Kind::DualPipeV}) {
    SCOPED_TRACE(std::string(dualpipe::to_string(kind)) + " P=" + std::to_string(pipeline));
    expect_equal(of_step({kind, pipeline, 1, 1, count}, model), want);
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
  const trainer::ModelConfig model = narrow_model(8);
  for (const int pipeline : {2, 4, 8}) {
    SCOPED_TRACE(pipeline);
    const int half = pipeline;
    Plain halves(model, 2 * half);
    Gradients want = halves.accumulated(0, half);
    for (const auto& [name, term] : halves.accumulated(half, half))
      std::ranges::transform(want[name], term, want[name].begin(), std::plus());
    expect_equal(of_step({Kind::DualPipe, pipeline, 1, 1, 2 * half}, model), want);
  }
}

// Lanes that hold all experts themselves keep every product as it is.
TEST(EngineGradient, LanesAreBitEqualToTheSumOfTheirAccumulations) {
  const trainer::ModelConfig model = narrow_model(4);
  for (const scheduler::Layout& layout :
       {scheduler::Layout{Kind::OneFOneB, 2, 2, 1, 4}, {Kind::DualPipe, 2, 2, 1, 4}}) {
    expect_equal(of_step(layout, model), plain(model, layout));
  }
}

const scheduler::Layout kSharded[] = {{Kind::OneFOneB, 2, 2, 2, 4},
                                      {Kind::DualPipeV, 2, 2, 2, 4},
                                      {Kind::DualPipe, 2, 2, 2, 4},
                                      {Kind::OneFOneB, 1, 4, 4, 2},
                                      {Kind::DualPipe, 2, 4, 4, 4}};

// The rows of all lanes come to an expert in one product, whose sum over rows is its gradient:
// that is the sum that shards reorder. A token's sum of two experts has one order only.
TEST(EngineGradient, ExpertShardsReorderOnlyTheExpertsOwnSumsWhereATokenHasTwo) {
  const trainer::ModelConfig model = narrow_model(4);
  for (const scheduler::Layout& layout : kSharded) {
    SCOPED_TRACE(std::string(dualpipe::to_string(layout.kind)) +
                 " E=" + std::to_string(layout.expert));
    const Gradients want = plain(model, layout), got = of_step(layout, model);
    for (const auto& [name, gradient] : want) {
      if (is_expert(name)) continue;
      EXPECT_TRUE(got.at(name) == gradient) << name << " differs";
    }
    const double apart = distance(got, want, is_expert);
    EXPECT_GT(apart, 0) << "no sum was reordered: say so where this is explained";
    EXPECT_LT(apart, 1e-6);
  }
}

// With more experts a token, its sum is bracketed by rank: the forward differs in the last bit and
// everything after it. The distance is that of the whole gradient, which is what clipping and the
// step's length see.
TEST(EngineGradient, ExpertShardsStayWithinAMillionthOfPlainAccumulation) {
  trainer::ModelConfig model = narrow_model(4);
  model.num_experts_per_tok = 4;
  for (const scheduler::Layout& layout : kSharded) {
    SCOPED_TRACE(std::string(dualpipe::to_string(layout.kind)) +
                 " E=" + std::to_string(layout.expert));
    const Gradients want = plain(model, layout), got = of_step(layout, model);
    EXPECT_LT(distance(got, want, [](const std::string&) { return true; }), 1e-6);
  }
}

TEST(EngineGradient, TheSameHoldsInBf16) {
  const trainer::ModelConfig model = narrow_model(4);
  const auto bf16 = trainer::Precision::BF16;
  for (const scheduler::Layout& layout : {scheduler::Layout{Kind::OneFOneB, 2, 1, 1, 4},
                                          {Kind::ZeroBubble, 4, 1, 1, 4},
                                          {Kind::DualPipeV, 2, 1, 1, 4},
                                          {Kind::DualPipe, 2, 2, 1, 4}}) {
    SCOPED_TRACE(std::string(dualpipe::to_string(layout.kind)));
    const Gradients want = plain(model, layout, bf16);
    for (const auto recompute : {trainer::Recompute::None, trainer::Recompute::Full})
      expect_equal(of_step(layout, model, recompute, bf16), want);
  }
  const scheduler::Layout sharded{Kind::DualPipe, 2, 2, 2, 4};
  const Gradients want = plain(model, sharded, bf16);
  const Gradients got = of_step(sharded, model, trainer::Recompute::None, bf16);
  for (const auto& [name, gradient] : want)
    EXPECT_TRUE(is_expert(name) || got.at(name) == gradient) << name << " differs";
  EXPECT_LT(distance(got, want, is_expert), 1e-6);
}

TEST(EngineGradient, RecomputationChangesNoBit) {
  const trainer::ModelConfig model = narrow_model(4);
  for (const scheduler::Layout& layout :
       {scheduler::Layout{Kind::ZeroBubble, 2, 1, 1, 8}, {Kind::DualPipe, 2, 2, 2, 4}}) {
    const Gradients want = of_step(layout, model);
    for (const auto recompute : {trainer::Recompute::MlaUp, trainer::Recompute::Full})
      expect_equal(of_step(layout, model, recompute), want);
  }
}

}  // namespace
}  // namespace weft::runtime
