// Training from files: the same losses whatever the layout, and a run cut in the middle of an epoch
// is the run. Every rank is a thread of the test.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/runtime/recipe_world.h"
#include "tests/scratch.h"

namespace weft::runtime {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

class RecipeFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream text(root / "text.jsonl"), asked(root / "asked.jsonl");
    for (int i = 0; i < 60; ++i) {
      text << json{{"text", "document " + std::to_string(i) + std::string(i * 5 % 37, '.')}}
           << "\n";
      asked << json{{"question", "what is " + std::to_string(i) + " + 1?"},
                    {"answer", "it is <<1+1=2>>\n#### " + std::to_string(i + 1)}}
            << "\n";
    }
  }

  Job job(const std::string& file, bool cold_start) const {
    Job out;
    out.model = tiny_model(4);
    out.model.vocab_size = 320;
    out.recipe = {cold_start ? "cold_start" : "pretrain"};
    out.data.task = "files";
    out.data.train = {(root / file).string()};
    out.data.context = 48;
    out.data.fim_rate = cold_start ? 0.0 : 0.2;
    out.data.validation_windows = 5;
    for (SupervisedJob* stage : {&out.pretrain, static_cast<SupervisedJob*>(&out.cold_start)}) {
      stage->steps = 8;  // several epochs
      stage->batch = 9;
    }
    out.checkpoint.every_steps = 4;
    out.control.wait_bound_s = 60;
    return out;
  }

  KeptRun walk(const Job& job, const std::string& run,
               const std::optional<std::string>& resume = {}) const {
    return walk_recipe(job, root / run / "ckpt", resume);
  }

  void expect_the_same_run(const std::string& file, bool cold_start) {
    Job one = job(file, cold_start), four = one;
    lay_out(one, "1f1b", 1, 1, 2);
    lay_out(four, "dualpipe", 2, 2, 4);
    const KeptRun whole = walk(one, "one"), spread = walk(four, "four");
    ASSERT_EQ(whole.error, "");
    ASSERT_EQ(spread.error, "");
    ASSERT_EQ(whole.losses.size(), 8u);
    ASSERT_EQ(spread.losses.size(), 8u);
    ASSERT_EQ(whole.validation.size(), 1u);
    for (std::size_t i = 0; i < 8; ++i)
      EXPECT_NEAR(spread.losses[i], whole.losses[i], 1e-5 * whole.losses[i]) << "step " << i + 1;
    EXPECT_NEAR(spread.validation[0], whole.validation[0], 1e-5 * whole.validation[0]);

    fs::remove_all(root / "one" / "ckpt" / "step-000000008");  // as if it had been killed
    const KeptRun rest = walk(one, "one");
    ASSERT_EQ(rest.losses.size(), 4u) << rest.error;
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(rest.losses[i], whole.losses[4 + i]);
    EXPECT_EQ(rest.validation, whole.validation);
  }

  const test::Scratch scratch;
  const fs::path root = scratch.path();
};

TEST_F(RecipeFiles, PretrainingIsTheSameInEveryLayoutAndAfterACutInsideAnEpoch) {
  expect_the_same_run("text.jsonl", false);
}

TEST_F(RecipeFiles, ColdStartOnAnswersIsTheSameInEveryLayoutAndAfterACutInsideAnEpoch) {
  expect_the_same_run("asked.jsonl", true);
}

TEST_F(RecipeFiles, AResumedRunRefusesOtherData) {
  Job run = job("text.jsonl", false);
  lay_out(run, "1f1b", 1, 1, 1);
  run.pretrain.steps = 4;
  ASSERT_EQ(walk(run, "run").error, "");
  std::ofstream(root / "text.jsonl", std::ios::app) << "{\"text\": \"one more\"}\n";
  EXPECT_NE(walk(run, "run").error.find("text.jsonl has changed"), std::string::npos);
  fs::remove_all(root / "run" / "data");  // even if its index is made anew
  EXPECT_NE(walk(run, "run").error.find("other data"), std::string::npos);
}

TEST_F(RecipeFiles, GoesOnFromTheCheckpointThatWasChosenAndNoOther) {
  const Job whole = job("text.jsonl", false);
  const KeptRun first = walk(whole, "run");
  ASSERT_EQ(first.losses.size(), 8u) << first.error;
  const KeptRun chosen = walk(whole, "run", "step-000000004");
  EXPECT_EQ(chosen.losses, std::vector(first.losses.begin() + 4, first.losses.end()))
      << "step 8 was there and was not asked for; " << chosen.error;
  const KeptRun fresh = walk(whole, "run", "");
  EXPECT_EQ(fresh.losses, first.losses) << "from initial weights as told; " << fresh.error;
  const KeptRun missing = walk(whole, "run", "step-000000005");
  EXPECT_TRUE(missing.losses.empty());
  EXPECT_EQ(missing.found_damaged, "step-000000005");
  EXPECT_NE(missing.error.find("is not there any more"), std::string::npos) << missing.error;
  const KeptRun outside = walk(whole, "run", "../run/ckpt/step-000000004");
  EXPECT_NE(outside.error.find("is no checkpoint's name"), std::string::npos) << outside.error;
}

}  // namespace
}  // namespace weft::runtime
