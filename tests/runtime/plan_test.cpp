// Held to what others have measured, with the shipped cluster files and jobs.
#include <gtest/gtest.h>

#include <algorithm>

#include "published_systems.h"
#include "scheduler/plan/search.h"
#include "trainer/hf/inventory.h"

namespace weft::runtime {
namespace {

trainer::ModelConfig v3_config() {
  LoadOptions options{
      .overrides = {{}, {"model.config=" WEFT_SOURCE_DIR "/deploy/models/deepseek-v3.config.json"}},
      .check_files = false,
      .here = false};
  return load_job(WEFT_SOURCE_DIR "/deploy/jobs/v3-pretrain.yaml", options).job.model;
}

TEST(PublishedSystems, DeepSeekV3StepAndItsPartsComeOutAsMeasured) {
  for (const Published& p : v3_on_h800())
    EXPECT_NEAR(p.predicted, p.published, p.tolerance * p.published) << p.what;
}

TEST(PublishedSystems, OthersComeOutWithTheSameConstants) {
  for (const Published& p : other_systems())
    if (p.tolerance > 0) {
      EXPECT_NEAR(p.predicted, p.published, p.tolerance * p.published) << p.system;
    }
}

TEST(PublishedSystems, TheirFiguresFollowFromTheShapeAsTheModelsOwnCount) {
  const trainer::ModelConfig config = v3_config();
  const scheduler::ModelShape shape = shape_of(config);
  const trainer::hf::Counts counts = trainer::hf::count(config);
  EXPECT_DOUBLE_EQ(shape.total(), static_cast<double>(counts.total));
  EXPECT_DOUBLE_EQ(shape.active(), static_cast<double>(counts.active));
  const trainer::hf::Flops flops = trainer::hf::flops_per_token(config, 4096);
  EXPECT_DOUBLE_EQ(shape.training_flops(4096, true), flops.training());
  EXPECT_DOUBLE_EQ(shape.training_flops(4096, false), flops.training_full());
}

TEST(PublishedSystems, DeepSeekV3FitsItsGpusAndTakesTheTokensItWasTrainedOn) {
  const auto plan = scheduler::predict(v3_work(), shipped_cluster("h800-2048"));
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_TRUE(plan->fits);
  EXPECT_TRUE(plan->deadlock_free);
  ASSERT_TRUE(plan->run);
  EXPECT_NEAR(plan->run->tokens, 14.8e12, 0.05e12);
  // 2,664K GPU-hours of pre-training, $2 each (arXiv 2412.19437, table 1).
  EXPECT_NEAR(plan->run->gpu_hours, 2664e3, 0.05 * 2664e3);
  EXPECT_NEAR(plan->run->dollars, 5.328e6, 0.05 * 5.328e6);
}

TEST(PublishedSystems, TheLayoutThatDeepSeekChoseIsAmongTheBestThree) {
  const auto result = scheduler::search(v3_work(), shipped_cluster("h800-2048"), {}, {.keep = 3});
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->best.size(), 3u);
  EXPECT_TRUE(std::ranges::any_of(result->best, [](const scheduler::Candidate& c) {
    return c.work.layout == v3_work().layout && c.work.recompute == v3_work().recompute;
  }));
}

}  // namespace
}  // namespace weft::runtime
