// The memory model against what an engine really holds: parameters, gradients, optimizer state and
// the activations' arenas, counted by the trainer itself. Not counted: copies of weights that the
// product library packs, scratch memory, the transport.
#include <mutex>

#include "engine_world.h"
#include "runtime/plan/work_of_job.h"
#include "scheduler/memory/rank_bytes.h"
#include "trainer/kernels/matmul.h"

namespace weft::runtime {
namespace {

using dualpipe::Kind;

trainer::ModelConfig model_of(int layers) {
  trainer::ModelConfig c = tiny_model(layers);
  c.hidden_size = 64;
  c.intermediate_size = 128;
  c.moe_intermediate_size = 48;
  c.vocab_size = 96;
  return c;
}

/// Every sequence has as many tokens.
std::vector<trainer::MicroBatch> even_batch(int micro_batches, int sequences, int tokens,
                                            int vocab) {
  std::vector<trainer::MicroBatch> batch(static_cast<std::size_t>(micro_batches));
  int id = 0;
  for (auto& part : batch) {
    part.sequence_begin = {0};
    for (int s = 0; s < sequences; ++s) {
      Rng rng(3, "even", static_cast<std::uint64_t>(id));
      for (int t = 0; t < tokens; ++t) {
        part.tokens.push_back(static_cast<int>(rng.below(static_cast<std::uint32_t>(vocab))));
        part.positions.push_back(t);
        part.targets.push_back(static_cast<int>(rng.below(static_cast<std::uint32_t>(vocab))));
        part.weight.push_back(1e-3f);
      }
      part.sequence_begin.push_back(part.num_tokens());
      part.sequence_id.push_back(id++);
    }
  }
  return batch;
}

struct Case {
  Kind kind;
  int pipeline, data, expert, micro_batches;
  trainer::Recompute recompute = trainer::Recompute::None;
  trainer::Precision precision = trainer::Precision::F32;
};

void expect_same_bytes(const Case& c) {
  constexpr int kSequences = 4, kTokens = 24;
  EngineOptions options;
  options.layout = {c.kind, c.pipeline, c.data, c.expert, c.micro_batches};
  options.model = model_of(2 * dualpipe::num_stages(c.kind, c.pipeline));
  options.recompute = c.recompute;
  options.precision = c.precision;
  const auto batch =
      even_batch(c.data * c.micro_batches, kSequences, kTokens, options.model.vocab_size);
  std::mutex mutex;
  Engine::MemoryBytes real{};
  on_every_rank(options, [&](Engine& engine) -> Expected<void> {
    for (long long step = 1; step <= 2; ++step) WEFT_TRY(engine.train(batch, 1e-3, step, false));
    const Engine::MemoryBytes bytes = engine.memory_bytes();
    const std::lock_guard lock(mutex);
    real.parameters += bytes.parameters;
    real.optimizer += bytes.optimizer;
    real.activations += bytes.activations;
    return {};
  });
  scheduler::Work work;
  work.model = shape_of(options.model);
  work.layout = options.layout;
  work.sequence = kTokens;
  work.micro_batch_sequences = kSequences;
  work.recompute = static_cast<scheduler::Recompute>(c.recompute);
  work.precision = static_cast<scheduler::Precision>(c.precision);
  const auto predicted = scheduler::rank_bytes(work, {}, 0);
  ASSERT_TRUE(predicted) << predicted.error().message;
  double parameters = 0, optimizer = 0, activations = 0;
  for (const scheduler::RankBytes& b : *predicted) {
    parameters += c.data * (b.weights + b.gradients);
    optimizer += c.data * (b.moments + b.received);
    activations += c.data * b.activations;
  }
  const auto total = static_cast<double>(real.parameters + real.optimizer + real.activations);
  EXPECT_NEAR(parameters, static_cast<double>(real.parameters), 0.05 * parameters);
  EXPECT_NEAR(optimizer, static_cast<double>(real.optimizer), 0.05 * optimizer);
  EXPECT_NEAR(activations, static_cast<double>(real.activations),
              0.05 * static_cast<double>(real.activations));
  EXPECT_NEAR(parameters + optimizer + activations, total, 0.05 * total);
  std::printf("predicted over real: parameters %.3f, optimizer %.3f, activations %.3f\n",
              parameters / static_cast<double>(real.parameters),
              optimizer / static_cast<double>(real.optimizer),
              activations / static_cast<double>(real.activations));
}

TEST(MemoryModel, CountsAnEnginesBytesWithinFivePercent) {
  expect_same_bytes({Kind::OneFOneB, 2, 1, 1, 4});
  expect_same_bytes({Kind::OneFOneB, 2, 2, 2, 4});
}

TEST(MemoryModel, CountsBothCopiesOfDualPipeAndWaitingWeightGradients) {
  expect_same_bytes({Kind::DualPipe, 2, 2, 2, 4});
  expect_same_bytes({Kind::ZeroBubble, 3, 1, 1, 6});
}

TEST(MemoryModel, CountsEveryRecomputation) {
  for (const auto recompute : {trainer::Recompute::MlaUp, trainer::Recompute::Full})
    expect_same_bytes({Kind::OneFOneB, 2, 2, 2, 4, recompute});
}

TEST(MemoryModel, CountsNarrowNumbers) {
  if (!trainer::kernels::check_bf16_products()) GTEST_SKIP() << "needs AVX-512 BF16";
  for (const auto precision : {trainer::Precision::BF16, trainer::Precision::FP8})
    expect_same_bytes({Kind::OneFOneB, 2, 2, 2, 4, trainer::Recompute::None, precision});
}

}  // namespace
}  // namespace weft::runtime
