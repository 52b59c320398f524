// A checkpoint of one layout goes on in another: the recipe itself, every rank a thread of the
// test.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/job/course.h"
#include "tests/runtime/recipe_world.h"
#include "tests/scratch.h"

namespace weft::runtime {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

Job tiny_job(int steps) {
  Job job;
  job.model = tiny_model(4);
  job.model.vocab_size = 320;
  job.model.max_position_embeddings = 128;
  job.tokenizer.numbers = 49;
  job.data.max_difficulty = 3;
  job.pretrain.steps = steps;
  job.pretrain.batch = 16;
  job.pretrain.eval_problems = 4;
  job.checkpoint.every_steps = 10;
  job.control.wait_bound_s = 20;
  return job;
}

/// Every rank walks the recipe, from the newest checkpoint in `directory` on.
KeptRun walk(const Job& job, const fs::path& directory) {
  KeptRun kept = walk_recipe(job, directory);
  EXPECT_EQ(kept.error, "");
  return kept;
}

class RecipeLayout : public testing::Test {
 protected:
  /// 20 steps in one layout, cut after 10 and gone on with in another.
  void expect_to_go_on(const std::function<void(Job&)>& first,
                       const std::function<void(Job&)>& then) {
    Job job = tiny_job(20);
    first(job);
    const KeptRun whole = walk(job, root / "ckpt");
    fs::remove_all(root / "ckpt" / "step-000000020");  // as if it had been killed after step 10
    then(job);
    const KeptRun rest = walk(job, root / "ckpt");
    EXPECT_EQ(rest.kinds.front(), "resumed");
    ASSERT_EQ(whole.losses.size(), 20u);
    ASSERT_EQ(rest.losses.size(), 10u);
    for (std::size_t i = 0; i < rest.losses.size(); ++i)
      EXPECT_NEAR(rest.losses[i], whole.losses[10 + i], 1e-5 * std::abs(whole.losses[10 + i]))
          << "step " << 11 + i;
  }

  const test::Scratch scratch;
  const fs::path root = scratch.path();
};

TEST_F(RecipeLayout, FromDualPipeOnFourRanksToOneRank) {
  expect_to_go_on([](Job& job) { lay_out(job, "dualpipe", 2, 2, 4); },
                  [](Job& job) { lay_out(job, "1f1b", 1, 1, 8); });
}

TEST_F(RecipeLayout, FromOneRankToDualPipeOnFour) {
  expect_to_go_on([](Job& job) { lay_out(job, "1f1b", 1, 1, 8); },
                  [](Job& job) { lay_out(job, "dualpipe", 2, 2, 4); });
}

TEST_F(RecipeLayout, FromAPipelineToExpertShards) {
  expect_to_go_on([](Job& job) { lay_out(job, "1f1b", 4, 1, 8); },
                  [](Job& job) { lay_out(job, "1f1b", 1, 4, 2); });
}

/// One way to cut a run.
struct Cut {
  const char* schedule;
  int pipeline, data, expert, micro_batches;
  bool same_sums = false;  // as the first cut: no sum is reordered
};

// What a person does by `weft resume RUN --set parallel.…`: all that a step needs (weights,
// moments, router biases, where the data and the random draws stand) comes back in any layout.
TEST_F(RecipeLayout, TheNextLossesAreTheRunsInEveryLayout) {
  Job job = tiny_job(12);
  job.checkpoint.keep = 100;
  job.model.num_nextn_predict_layers = 1;
  job.model.aux_loss_alpha = 1e-3;
  const auto cut = [&](const Cut& how) {
    lay_out(job, how.schedule, how.pipeline, how.data, how.micro_batches);
    job.parallel.expert = how.expert;
  };
  const Cut first = {"dualpipe", 2, 2, 2, 4};
  cut(first);
  const KeptRun whole = walk(job, root / "whole");
  ASSERT_EQ(whole.losses.size(), 12u);
  fs::remove_all(root / "whole" / "step-000000012");
  const std::vector<Cut> others = {{"dualpipe", 2, 2, 2, 4, true},
                                   {"zb1p", 4, 1, 1, 8},
                                   {"zbv", 2, 1, 1, 4},
                                   {"dualpipev", 1, 2, 1, 4},
                                   {"gpipe", 1, 4, 4, 2}};
  for (const Cut& how : others) {
    SCOPED_TRACE(testing::Message() << how.schedule << " " << how.pipeline << " x " << how.data);
    fs::remove_all(root / "ckpt");
    fs::copy(root / "whole", root / "ckpt",
             fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    cut(how);
    const KeptRun rest = walk(job, root / "ckpt");
    ASSERT_EQ(rest.losses.size(), 2u);
    for (std::size_t i = 0; i < 2; ++i) {
      const double loss = whole.losses[10 + i];
      EXPECT_NEAR(rest.losses[i], loss, how.same_sums ? 0 : 1e-6 * loss) << "step " << 11 + i;
    }
  }
}

TEST_F(RecipeLayout, BatchesGrowAndTheRateFollowsItsCurveAlsoAfterACut) {
  {
    std::ofstream text(root / "text.txt");
    Rng rng(3, "text");
    for (int i = 0; i < 6000; ++i) text << static_cast<char>('a' + rng.below(26));
  }
  const auto on_text = [&](Job& job) {
    job.data.task = "text";
    job.data.path = (root / "text.txt").string();
    job.data.context = 16;
    job.pretrain.batch = 24;
    job.pretrain.batch_start = 8;
    job.pretrain.batch_ramp = 2000;
    job.pretrain.lr_curve = "linear 4 to 1e-3, constant 1500 tokens, cosine 8 steps to 1e-4";
    job.optimizer.ema_decay = 0.9;
  };
  expect_to_go_on(
      [&](Job& job) {
        lay_out(job, "dualpipe", 2, 1, 4);
        on_text(job);
      },
      [&](Job& job) { lay_out(job, "1f1b", 1, 2, 4); });
  fs::remove_all(root / "ckpt");
  Job job = tiny_job(20);
  lay_out(job, "1f1b", 1, 1, 4);
  on_text(job);
  const KeptRun kept = walk(job, root / "ckpt");
  ASSERT_EQ(kept.records.size(), 20u);
  const Course course = *course_of(job.pretrain, 16);
  EXPECT_EQ(course.plan.batch(0), 8);
  EXPECT_EQ(course.plan.batch(19), 24);
  for (int step = 0; step < 20; ++step) {
    const json& record = kept.records[static_cast<std::size_t>(step)];
    EXPECT_EQ(record["lr"], course.learning_rate(step)) << step;
    EXPECT_EQ(record["tokens"], course.plan.tokens_before(step + 1)) << step;
  }
  EXPECT_TRUE(kept.records.back().contains("ema_val_loss"));
}

// Not a matter of layouts, but of the same world: supervised stages train the modules as the job
// says, and reinforcement learning leaves them out.
TEST_F(RecipeLayout, MultiTokenPredictionFollowsItsWeightThroughTheStages) {
  Job job = tiny_job(4);
  lay_out(job, "dualpipe", 2, 1, 4);
  job.recipe = {"pretrain", "cold_start", "grpo"};
  job.model.num_nextn_predict_layers = 1;
  job.pretrain.mtp_weight = "constant 2 at 0.3, constant 1 at 0";
  job.cold_start.steps = 2;
  job.cold_start.eval_problems = 4;
  job.grpo.steps = 1;
  job.grpo.prompts_per_step = 2;
  job.grpo.num_generations = 4;
  job.grpo.max_completion_length = 8;
  job.grpo.eval_problems = 4;
  const KeptRun kept = walk(job, root / "ckpt");
  ASSERT_EQ(kept.records.size(), 7u);
  for (const std::size_t step : {0, 1, 4, 5}) {
    EXPECT_EQ(kept.records[step]["mtp_weight"], 0.3) << step;
    EXPECT_GT(kept.records[step]["mtp_loss/1"], 0.5 * kept.losses[step]) << step;
  }
  for (const std::size_t step : {2, 3, 6})
    EXPECT_FALSE(kept.records[step].contains("mtp_loss/1")) << step;
}

}  // namespace
}  // namespace weft::runtime
