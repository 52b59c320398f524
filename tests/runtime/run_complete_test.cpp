// `weft run` of tiny jobs through the real binary: what it leaves behind, and that it is the same
// again.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

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

  FinishedRun(const std::string& job, const std::vector<std::string>& more = {})
      : run(place / "run") {
    std::vector<std::string> arguments = {
        "run", job == "grpo" ? place.grpo_job() : place.supervised_job(), "--dir", run.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    Weft child(arguments);
    ended = child.wait();
    left = child.workers();
  }
};

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

/// What lies in shared memory, but for directories that an agent of some other run holds now.
std::vector<std::string> segments_of_nobody() {
  std::vector<std::string> found;
  for (const std::string& name : names_in("/dev/shm")) {
    if (name.find("weft") == std::string::npos) continue;
    const int lock = ::open(("/dev/shm/" + name).c_str(), O_RDONLY | O_CLOEXEC);
    if (lock >= 0 && ::flock(lock, LOCK_EX | LOCK_NB) == 0) found.push_back(name);
    if (lock >= 0) ::close(lock);
  }
  return found;
}

void expect_a_clean_end(const FinishedRun& finished) {
  ASSERT_EQ(finished.ended.code, 0) << finished.ended.err;
  EXPECT_EQ(finished.ended.out, "") << "stdout is for data";
  EXPECT_NE(finished.ended.err.find("Results are in " + finished.run.string()), std::string::npos);
  EXPECT_TRUE(finished.left.empty()) << "a process stayed";
  EXPECT_TRUE(eventually([] { return segments_of_nobody().empty(); })) << "in /dev/shm";
}

void expect_a_complete_directory(const FinishedRun& finished, std::size_t workers) {
  const std::vector<std::string> names = names_in(finished.run);
  for (const char* name : {"job.yaml", "config.resolved.yaml", "run.json", "run.sqlite",
                           "metrics.jsonl", "events.jsonl", "samples", "logs", "ckpt"})
    EXPECT_TRUE(has(names, name)) << name;
  EXPECT_EQ(names_in(finished.run / "logs").size(), workers + 1) << "and the coordinator's";
  EXPECT_TRUE(checkpoints_of(finished.run, true).empty());
}

void expect_metrics(const json& record, std::size_t step, const std::string& stage,
                    const std::vector<std::string>& more) {
  EXPECT_EQ(record["step"], step);
  EXPECT_EQ(record["stage"], stage);
  std::vector<std::string> keys = {"loss", "lr", "grad_norm", "tokens", "tokens_per_second"};
  keys.insert(keys.end(), more.begin(), more.end());
  for (const std::string& key : keys)
    EXPECT_TRUE(record.contains(key) && record[key].is_number()) << key << " of step " << step;
}

long long rows(const fs::path& sqlite, const std::string& table) {
  sqlite3* db = nullptr;
  sqlite3_stmt* statement = nullptr;
  sqlite3_open_v2(sqlite.c_str(), &db, SQLITE_OPEN_READONLY, nullptr);
  sqlite3_prepare_v2(db, ("SELECT count(*) FROM " + table).c_str(), -1, &statement, nullptr);
  const long long count =
      sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
  sqlite3_finalize(statement);
  sqlite3_close(db);
  return count;
}

TEST(RunComplete, ASupervisedRunLeavesACompleteDirectoryAndNobodyBehind) {
  const FinishedRun finished("supervised");
  expect_a_clean_end(finished);
  expect_a_complete_directory(finished, 4);
  EXPECT_EQ(text_of(finished.run / "job.yaml"), text_of(finished.place / "supervised.yaml"));
  EXPECT_EQ(checkpoints_of(finished.run, false),
            (std::vector<std::string>{"step-000000020", "step-000000030", "step-000000040"}));
  EXPECT_EQ(fs::read_symlink(finished.run / "ckpt" / "latest"), "step-000000040");

  const std::vector<json> metrics = lines_of(finished.run / "metrics.jsonl");
  ASSERT_EQ(metrics.size(), 40u);
  for (std::size_t i = 0; i < metrics.size(); ++i)
    expect_metrics(metrics[i], i + 1, "pretrain", {});
  EXPECT_LT(metrics.back()["loss"], metrics.front()["loss"]);
  EXPECT_GT(metrics.back()["tokens"], metrics.front()["tokens"]);
}

TEST(RunComplete, AGrpoRunKeepsRewardsCompletionsEventsAndAnIndex) {
  const FinishedRun finished("grpo");
  expect_a_clean_end(finished);
  expect_a_complete_directory(finished, 2);

  const std::vector<json> metrics = lines_of(finished.run / "metrics.jsonl");
  ASSERT_EQ(metrics.size(), 18u);
  for (std::size_t i = 0; i < 12; ++i)
    expect_metrics(metrics[i], i + 1, i < 8 ? "pretrain" : "cold_start", {});
  for (std::size_t i = 12; i < 18; ++i)
    expect_metrics(metrics[i], i + 1, "grpo",
                   {"reward", "reward_std", "accuracy", "rewards/accuracy.answer/mean",
                    "rewards/format.think_answer/mean", "completions/mean_length",
                    "completions/p95_length", "completions/clipped_ratio", "clip_ratio", "kl"});
  EXPECT_GT(metrics.back()["kl"], 0.0) << "the policy has left the reference";
  EXPECT_TRUE(metrics.back().contains("eval_accuracy"));

  EXPECT_EQ(names_in(finished.run / "samples").size(), 6u);
  const std::vector<json> samples = lines_of(finished.run / "samples" / "18.jsonl");
  ASSERT_EQ(samples.size(), 8u);
  for (const json& sample : samples) {
    for (const char* key :
         {"input", "output", "gts", "score", "step", "id", "group", "advantage", "length",
          "truncated", "rewards", "extracted"})  // the first five are verl's
      EXPECT_TRUE(sample.contains(key)) << key;
    EXPECT_EQ(sample["step"], 18);
    EXPECT_TRUE(sample["rewards"].contains("accuracy.answer"));
  }

  std::vector<std::string> kinds;
  for (const json& event : lines_of(finished.run / "events.jsonl")) {
    kinds.push_back(event["kind"]);
    EXPECT_TRUE(event["time"].is_string() && event["message"].is_string());
  }
  EXPECT_EQ(std::ranges::count(kinds, "stage"), 3);
  EXPECT_EQ(std::ranges::count(kinds, "started"), 1);
  EXPECT_TRUE(has(kinds, "checkpoint") && has(kinds, "evaluation"));
  EXPECT_EQ(kinds.back(), "finished");

  EXPECT_EQ(rows(finished.run / "run.sqlite", "steps"), 18);
  EXPECT_EQ(rows(finished.run / "run.sqlite", "samples"), 6 * 8);
  EXPECT_EQ(rows(finished.run / "run.sqlite", "events"), static_cast<long long>(kinds.size()));
}

TEST(RunComplete, TheResolvedConfigurationSaysWhereEachValueIsFrom) {
  const FinishedRun finished("supervised", {"--set", "pretrain.steps=1", "--set", "seed=9"});
  ASSERT_EQ(finished.ended.code, 0) << finished.ended.err;
  const std::string text = text_of(finished.run / "config.resolved.yaml");
  const auto line_with = [&](const std::string& start) {
    const std::size_t at = text.find(start);
    return at == std::string::npos ? start + " is missing"
                                   : text.substr(at, text.find('\n', at) - at);
  };
  EXPECT_NE(line_with("seed: 9").find("--set"), std::string::npos) << line_with("seed: 9");
  EXPECT_NE(line_with("recipe:").find("supervised.yaml"), std::string::npos)
      << line_with("recipe:");
  EXPECT_NE(line_with("beta1:").find("default"), std::string::npos) << line_with("beta1:");
}

TEST(RunComplete, TheSameSeedGivesTheSameRunAgain) {
  const FinishedRun once("grpo"), again("grpo");
  ASSERT_EQ(again.ended.code, 0) << again.ended.err;
  EXPECT_EQ(metrics_of(again.run), metrics_of(once.run));
  for (const std::string& name : names_in(once.run / "samples"))
    EXPECT_EQ(text_of(again.run / "samples" / name), text_of(once.run / "samples" / name)) << name;
}

TEST(RunComplete, AnotherSeedGivesAnotherRun) {
  const FinishedRun one("supervised", {"--set", "seed=7", "--set", "pretrain.steps=1"});
  const FinishedRun other("supervised", {"--set", "seed=8", "--set", "pretrain.steps=1"});
  ASSERT_EQ(other.ended.code, 0) << other.ended.err;
  EXPECT_NE(metrics_of(other.run).at(0)["loss"], metrics_of(one.run).at(0)["loss"]);
}

TEST(RunComplete, AStepThatIsNotFiniteIsLeftOutAndTheRunGoesOn) {
  const FinishedRun wild("supervised", {"--set", "pretrain.lr=10", "--set", "pretrain.warmup=0",
                                        "--set", "optimizer.clip_norm=0", "--set",
                                        "optimizer.weight_decay=10", "--set", "pretrain.steps=30"});
  EXPECT_EQ(wild.ended.code, 0) << wild.ended.err;
  EXPECT_EQ(lines_of(wild.run / "metrics.jsonl").size(), 30u);
  EXPECT_NE(wild.ended.err.find("not finite; the update was left out"), std::string::npos)
      << wild.ended.err;
}

TEST(RunComplete, MultiTokenPredictionIsReportedBesideTheLoss) {
  const FinishedRun finished("grpo", {"--set", "model.num_nextn_predict_layers=1", "--set",
                                      "pretrain.mtp_weight=constant 2 at 0.3, constant 1 at 0"});
  expect_a_clean_end(finished);
  const std::vector<json> metrics = metrics_of(finished.run);
  ASSERT_GE(metrics.size(), 3u);
  for (const json& record : metrics) {
    const bool trained = record["stage_step"] <= 2 && record["stage"] == "pretrain";
    EXPECT_EQ(record.contains("mtp_loss/1"), trained || record["stage"] == "cold_start") << record;
    if (trained) {
      EXPECT_EQ(record["mtp_weight"], 0.3);
      EXPECT_GT(record["mtp_loss/1"], 0.5 * record["loss"].get<double>());
    }
  }
}

}  // namespace
}  // namespace weft::test
