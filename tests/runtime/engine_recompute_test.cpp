// Recomputation under every way of running a step: the same losses and gradient norms.
#include <gtest/gtest.h>

#include <mutex>

#include "runtime/worker/engine.h"
#include "tests/runtime/engine_world.h"

namespace weft::runtime {
namespace {

using dualpipe::Kind;
using trainer::Recompute;

struct Curve {
  std::vector<double> loss, grad_norm;
  friend bool operator==(const Curve&, const Curve&) = default;
};

Curve train(const scheduler::Layout& layout, Recompute recompute, bool overlap) {
  EngineOptions options;
  options.layout = layout;
  options.model = tiny_model(4);
  options.max_tokens = 256;
  options.overlap = overlap;
  options.recompute = recompute;
  options.seed = 3;
  options.wait_bound = std::chrono::seconds(20);
  Curve curve;
  std::mutex mutex;
  on_every_rank(options, [&](Engine& engine) -> Expected<void> {
    Curve mine;
    for (int step = 0; step < 3; ++step) {
      const auto batch =
          random_batch(11, step, 16, engine.num_micro_batches(), options.model.vocab_size);
      WEFT_TRY_ASSIGN(const TrainResult result, engine.train(batch, 3e-3, step + 1, false));
      mine.loss.push_back(result.loss);
      mine.grad_norm.push_back(result.grad_norm);
    }
    const std::scoped_lock lock(mutex);
    curve = mine;
    return {};
  });
  return curve;
}

void expect_no_difference(const scheduler::Layout& layout, bool overlap = true) {
  const Curve kept = train(layout, Recompute::None, overlap);
  ASSERT_EQ(kept.loss.size(), 3u);
  EXPECT_NE(kept.loss[0], kept.loss[2]);
  for (const Recompute recompute : {Recompute::MlaUp, Recompute::Full}) {
    SCOPED_TRACE(trainer::to_string(recompute));
    EXPECT_EQ(train(layout, recompute, overlap), kept);
  }
}

TEST(EngineRecompute, ChangesNoNumberUnder1F1B) {
  expect_no_difference({Kind::OneFOneB, 2, 1, 1, 8});
}

TEST(EngineRecompute, ChangesNoNumberWhereWeightGradientsComeLate) {
  expect_no_difference({Kind::ZeroBubble, 2, 1, 1, 8});
}

TEST(EngineRecompute, ChangesNoNumberUnderDualPipeWithExpertShards) {
  expect_no_difference({Kind::DualPipe, 2, 2, 2, 4}, true);
}

TEST(EngineRecompute, ChangesNoNumberWithoutTheOverlap) {
  expect_no_difference({Kind::DualPipe, 2, 2, 2, 4}, false);
}

TEST(EngineRecompute, ChangesNoNumberUnderDualPipeV) {
  expect_no_difference({Kind::DualPipeV, 2, 2, 2, 4});
}

}  // namespace
}  // namespace weft::runtime
