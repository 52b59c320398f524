// `weft run` of tiny jobs through the real binary: what it leaves behind, and that it is the same again.
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// Runs are not cheap: each job runs once, whatever the number of promises about it.
struct FinishedRun {
  Place place;
  fs::path run;
  std::vector<pid_t> left;  // processes still there when the coordinator had ended
  Ended ended;

  FinishedRun(const std::string& job, const std::vector<std::string>& more = {}) : run(place / "run") {
    std::vector<std::string> arguments = {"run", job == "grpo" ? place.grpo_job() : place.supervised_job(),
                                          "--dir", run.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    Weft child(arguments);
    ended = child.wait();
    left = child.workers();
  }
};

const FinishedRun& supervised() {
  static const FinishedRun finished("supervised");
  return finished;
}

const FinishedRun& grpo() {
  static const FinishedRun finished("grpo");
  return finished;
}

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory))
    names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

TEST(RunComplete, ItEndsWithZeroAndSaysWhereTheResultsAre) {
  ASSERT_EQ(supervised().ended.code, 0) << supervised().ended.err;
  EXPECT_EQ(supervised().ended.out, "") << "stdout is for data";
  EXPECT_NE(supervised().ended.err.find("Results are in " + supervised().run.string()),
            std::string::npos);
  ASSERT_EQ(grpo().ended.code, 0) << grpo().ended.err;
}

TEST(RunComplete, NoProcessAndNoSharedMemoryStays) {
  EXPECT_TRUE(supervised().left.empty());
  EXPECT_TRUE(grpo().left.empty());
  for (const std::string& name : names_in("/dev/shm"))
    EXPECT_EQ(name.find("weft"), std::string::npos) << name;
}

TEST(RunComplete, TheRunDirectoryIsComplete) {
  for (const FinishedRun* finished : {&supervised(), &grpo()}) {
    const std::vector<std::string> names = names_in(finished->run);
    for (const char* name : {"job.yaml", "config.resolved.yaml", "run.json", "run.sqlite",
                             "metrics.jsonl", "events.jsonl", "samples", "logs", "ckpt"})
      EXPECT_TRUE(has(names, name)) << name;
  }
  EXPECT_EQ(names_in(supervised().run / "logs").size(), 4u);
  EXPECT_EQ(names_in(grpo().run / "logs").size(), 2u);
  EXPECT_EQ(text_of(supervised().run / "job.yaml"), text_of(supervised().place / "supervised.yaml"));
}

TEST(RunComplete, TheResolvedConfigurationSaysWhereEachValueIsFrom) {
  const FinishedRun finished("supervised", {"--set", "pretrain.steps=1", "--set", "seed=9"});
  ASSERT_EQ(finished.ended.code, 0) << finished.ended.err;
  const std::string text = text_of(finished.run / "config.resolved.yaml");
  const auto line_with = [&](const std::string& start) {
    const std::size_t at = text.find(start);
    return at == std::string::npos ? start + " is missing" : text.substr(at, text.find('\n', at) - at);
  };
  EXPECT_NE(line_with("seed: 9").find("--set"), std::string::npos) << line_with("seed: 9");
  EXPECT_NE(line_with("recipe:").find("supervised.yaml"), std::string::npos) << line_with("recipe:");
  EXPECT_NE(line_with("optimizer:").find("optimizer"), std::string::npos);
  EXPECT_NE(line_with("beta1:").find("default"), std::string::npos) << line_with("beta1:");
}

TEST(RunComplete, CheckpointsAreKeptAsAskedAndTheLatestIsTheLast) {
  EXPECT_EQ(checkpoints_of(supervised().run, false),
            (std::vector<std::string>{"step-000000020", "step-000000030", "step-000000040"}));
  EXPECT_TRUE(checkpoints_of(supervised().run, true).empty());
  EXPECT_EQ(fs::read_symlink(supervised().run / "ckpt" / "latest"), "step-000000040");
}

TEST(RunComplete, EachStepHasItsMetrics) {
  const std::vector<json> metrics = lines_of(supervised().run / "metrics.jsonl");
  ASSERT_EQ(metrics.size(), 40u);
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    EXPECT_EQ(metrics[i]["step"], i + 1);
    EXPECT_EQ(metrics[i]["stage"], "pretrain");
    for (const char* key : {"loss", "lr", "grad_norm", "tokens", "tokens_per_second"})
      EXPECT_TRUE(metrics[i].contains(key) && metrics[i][key].is_number()) << key;
  }
  EXPECT_LT(metrics.back()["loss"], metrics.front()["loss"]);
  EXPECT_GT(metrics.back()["tokens"], metrics.front()["tokens"]);
}

TEST(RunComplete, GrpoStepsHaveRewardsLengthsAndDivergence) {
  const std::vector<json> metrics = lines_of(grpo().run / "metrics.jsonl");
  ASSERT_EQ(metrics.size(), 18u);
  EXPECT_EQ(metrics[8]["stage"], "cold_start");
  for (std::size_t i = 12; i < metrics.size(); ++i) {
    EXPECT_EQ(metrics[i]["stage"], "grpo");
    for (const char* key :
         {"loss", "lr", "grad_norm", "tokens", "tokens_per_second", "reward", "reward_std", "accuracy",
          "rewards/accuracy.answer/mean", "rewards/format.think_answer/mean", "completions/mean_length",
          "completions/p95_length", "completions/clipped_ratio", "clip_ratio", "kl"})
      EXPECT_TRUE(metrics[i].contains(key) && metrics[i][key].is_number()) << key;
  }
  EXPECT_GT(metrics.back()["kl"], 0.0) << "the policy has left the reference";
  EXPECT_TRUE(metrics.back().contains("eval_accuracy"));
}

TEST(RunComplete, EveryCompletionIsKeptUnderVerlsNames) {
  EXPECT_EQ(names_in(grpo().run / "samples").size(), 6u);
  const std::vector<json> samples = lines_of(grpo().run / "samples" / "18.jsonl");
  ASSERT_EQ(samples.size(), 8u);
  for (const json& sample : samples) {
    for (const char* key : {"input", "output", "gts", "score", "step", "id", "group", "advantage",
                            "length", "truncated", "rewards", "extracted"})
      EXPECT_TRUE(sample.contains(key)) << key;
    EXPECT_EQ(sample["step"], 18);
    EXPECT_TRUE(sample["rewards"].contains("accuracy.answer"));
  }
}

TEST(RunComplete, EventsTellTheStory) {
  std::vector<std::string> kinds;
  for (const json& event : lines_of(grpo().run / "events.jsonl")) {
    kinds.push_back(event["kind"]);
    EXPECT_TRUE(event["time"].is_string() && event["message"].is_string());
  }
  EXPECT_EQ(std::ranges::count(kinds, "stage"), 3);
  EXPECT_EQ(std::ranges::count(kinds, "started"), 1);
  EXPECT_EQ(kinds.back(), "finished");
  EXPECT_TRUE(has(kinds, "checkpoint") && has(kinds, "evaluation"));
}

TEST(RunComplete, TheIndexHoldsEveryStepEventAndSample) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open_v2((grpo().run / "run.sqlite").c_str(), &db, SQLITE_OPEN_READONLY, nullptr),
            SQLITE_OK);
  const auto count = [&](const std::string& table) {
    sqlite3_stmt* statement = nullptr;
    sqlite3_prepare_v2(db, ("SELECT count(*) FROM " + table).c_str(), -1, &statement, nullptr);
    const long long rows = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
    sqlite3_finalize(statement);
    return rows;
  };
  EXPECT_EQ(count("steps"), 18);
  EXPECT_EQ(count("samples"), 6 * 8);
  EXPECT_EQ(count("events"), static_cast<long long>(lines_of(grpo().run / "events.jsonl").size()));
  sqlite3_close(db);
}

TEST(RunComplete, TheSameSeedGivesTheSameRunAgain) {
  const FinishedRun again("grpo");
  ASSERT_EQ(again.ended.code, 0) << again.ended.err;
  EXPECT_EQ(metrics_of(again.run), metrics_of(grpo().run));
  for (const std::string& name : names_in(grpo().run / "samples"))
    EXPECT_EQ(text_of(again.run / "samples" / name), text_of(grpo().run / "samples" / name)) << name;
}

TEST(RunComplete, AnotherSeedGivesAnotherRun) {
  const FinishedRun other("supervised", {"--set", "seed=8", "--set", "pretrain.steps=2"});
  ASSERT_EQ(other.ended.code, 0) << other.ended.err;
  EXPECT_NE(metrics_of(other.run).at(0)["loss"], metrics_of(supervised().run).at(0)["loss"]);
}

TEST(RunComplete, ANonFiniteStepIsLeftOutAndSaidSo) {
  const FinishedRun wild("supervised", {"--set", "pretrain.lr=10", "--set", "pretrain.warmup=0", "--set",
                                        "optimizer.clip_norm=0", "--set", "pretrain.steps=15"});
  EXPECT_EQ(wild.ended.code, 0) << wild.ended.err;
  EXPECT_EQ(lines_of(wild.run / "metrics.jsonl").size(), 15u);
}

}  // namespace
}  // namespace weft::test
