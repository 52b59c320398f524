// Copies of the state in the node's memory: a run goes on from there when a worker dies, with the
// same numbers, never from a damaged one, and nothing of it stays.
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

class RunMemory : public testing::Test {
 protected:
  static std::vector<json> events_of(const fs::path& run, const std::string& kind) {
    std::vector<json> events;
    for (const json& event : lines_of(run / "events.jsonl"))
      if (event["kind"] == kind) events.push_back(event);
    return events;
  }
  /// Where the node keeps them, as the run said; "" before it did.
  static fs::path memory_of(const fs::path& run) {
    const auto events = events_of(run, "memory_copies");
    return events.empty() ? "" : events.back().value("directory", "");
  }
  static std::vector<fs::path> copies_in(const fs::path& memory) {
    std::vector<fs::path> copies;
    std::error_code error;
    for (fs::directory_iterator entry(memory, error), end; !error && entry != end;
         entry.increment(error))
      if (fs::exists(entry->path() / "MANIFEST.json")) copies.push_back(entry->path());
    return copies;
  }
  /// Waits until there is a copy and the agent has heard of it. Returns where it lies.
  static fs::path with_a_copy(const fs::path& run) {
    fs::path memory;
    EXPECT_TRUE(eventually([&] {
      memory = memory_of(run);
      return !memory.empty() && !copies_in(memory).empty();
    }));
    // A step that is reported after the copy was there comes after the word of the copy.
    const long long then = steps_of(run);
    EXPECT_TRUE(eventually([&] { return steps_of(run) >= then + 3; }));
    return memory;
  }
  /// Of every whole copy, the end of every file of weights; what is being removed meanwhile is
  /// left.
  static void damage_copies_in(const fs::path& memory) {
    for (const fs::path& copy : copies_in(memory)) {
      std::error_code error;
      for (fs::directory_iterator entry(copy / "model", error), end; !error && entry != end;
           entry.increment(error)) {
        std::fstream file(entry->path(), std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(-8, std::ios::end);
        file.write("damaged!", 8);
      }
    }
  }
  Place place;
};

TEST_F(RunMemory, AfterAWorkersDeathItGoesOnFromTheCopyWithTheSameNumbers) {
  const auto job = [&](const fs::path& run, const std::vector<std::string>& more) {
    std::vector<std::string> all = {
        "run",   place.supervised_job(),           "--dir", run.string(),
        "--set", "pretrain.steps=100000",          "--set", "checkpoint.every_steps=0",
        "--set", "checkpoint.memory_every_steps=5"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const fs::path run = place / "run";
  Weft child(job(run, {}));
  const fs::path memory = with_a_copy(run);
  const pid_t victim = child.worker(2);
  ASSERT_GT(victim, 0);
  ASSERT_EQ(::kill(victim, SIGKILL), 0);
  ASSERT_TRUE(eventually([&] { return !events_of(run, "resumed").empty(); }));
  const json resumed = events_of(run, "resumed")[0];
  EXPECT_GE(resumed["step"], 5) << "there is no checkpoint on the disk";
  EXPECT_NE(resumed["message"].get<std::string>().find("the copy in memory"), std::string::npos);
  const long long enough = resumed["step"].get<long long>() + 10;
  ASSERT_TRUE(eventually([&] { return steps_of(run) >= enough; }));
  child.signal(SIGINT);
  ASSERT_EQ(child.wait().code, 130);
  EXPECT_FALSE(checkpoints_of(run, false).empty()) << "what it stopped at is saved on the disk";
  EXPECT_FALSE(fs::exists(memory));

  // Undisturbed, and without room: it says so and does without.
  const fs::path calm = place / "calm";
  Weft other(job(calm, {"--set", "checkpoint.memory_limit=1e-6"}));
  ASSERT_TRUE(eventually([&] { return steps_of(calm) >= enough; }));
  other.signal(SIGINT);
  ASSERT_EQ(other.wait().code, 130);
  const auto refused = events_of(calm, "memory_copies");
  ASSERT_EQ(refused.size(), 1u);
  const std::string why = refused[0]["message"];
  EXPECT_NE(why.find("checkpoint.memory_limit is"), std::string::npos) << why;
  EXPECT_NE(why.find("checkpoints go to the disk alone"), std::string::npos) << why;
  auto numbers = metrics_of(run), expected = metrics_of(calm);
  const std::size_t both = std::min(numbers.size(), expected.size());
  ASSERT_GE(both, static_cast<std::size_t>(enough));
  for (std::size_t i = 0; i < both; ++i) EXPECT_EQ(numbers[i], expected[i]) << "step " << i + 1;
}

TEST_F(RunMemory, ADamagedCopyIsNeverUsedAndAKilledAgentLeavesNone) {
  // One checkpoint on the disk, asked for at the start: every copy after it is newer.
  const fs::path run = place / "run";
  Weft child({"run", place.supervised_job(), "--dir", run.string(), "--set",
              "pretrain.steps=100000", "--set", "checkpoint.every_steps=0", "--set",
              "checkpoint.memory_every_steps=5"});
  ASSERT_TRUE(eventually([&] { return steps_of(run) > 0; }));
  ASSERT_EQ(Weft({"ckpt", "save", run.string()}).wait().code, 0);
  ASSERT_TRUE(eventually([&] { return !checkpoints_of(run, false).empty(); }));
  const long long saved_at = steps_of(run);
  ASSERT_TRUE(eventually([&] { return steps_of(run) >= saved_at + 10; }));
  const fs::path memory = with_a_copy(run);

  // A copy that was being made may become whole after we looked, and is rightly gone on from:
  // then the next attempt damages it.
  json skipped, resumed;
  for (std::size_t attempt = 1; attempt <= 20 && skipped.is_null(); ++attempt) {
    pid_t victim = -1;
    ASSERT_TRUE(eventually([&] { return (victim = child.worker(2)) > 0; }));
    ASSERT_EQ(::kill(victim, SIGSTOP), 0);  // no further copy is begun
    damage_copies_in(memory);
    ASSERT_EQ(::kill(victim, SIGKILL), 0);
    ASSERT_TRUE(eventually([&] { return events_of(run, "resumed").size() >= attempt; }));
    resumed = events_of(run, "resumed").back();
    const long long enough = resumed["step"].get<long long>() + 10;
    ASSERT_TRUE(eventually([&] { return steps_of(run) >= enough; }));
    const auto all = events_of(run, "skipped_checkpoint");
    if (!all.empty()) skipped = all[0];
  }
  ASSERT_FALSE(skipped.is_null());
  const std::string said = skipped["message"];
  EXPECT_NE(said.find("memory/step-"), std::string::npos) << said;
  EXPECT_NE(said.find("checksum"), std::string::npos) << said;

  ASSERT_TRUE(fs::exists(memory));
  child.kill_agent();
  EXPECT_TRUE(eventually([&] { return !fs::exists(memory); }, std::chrono::seconds(30)));
  EXPECT_TRUE(eventually([&] { return child.everybody().empty(); }, std::chrono::seconds(30)));
}

}  // namespace
}  // namespace weft::test
