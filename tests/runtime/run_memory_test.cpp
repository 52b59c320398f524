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
    return events.empty() ? "" : events.back()["details"].value("directory", "");
  }
  static std::vector<fs::path> copies_in(const fs::path& memory) {
    std::vector<fs::path> copies;
    std::error_code error;
    for (fs::directory_iterator entry(memory, error), end; !error && entry != end;
         entry.increment(error))
      if (fs::exists(entry->path() / "MANIFEST.json")) copies.push_back(entry->path());
    return copies;
  }
  static void damage(const fs::path& copy) {
    for (const auto& entry : fs::directory_iterator(copy / "model")) {
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(-8, std::ios::end);
      file.write("damaged!", 8);
    }
  }

  Place place;
};

TEST_F(RunMemory, AfterAWorkersDeathItGoesOnFromTheCopyWithTheSameNumbers) {
  const std::vector<std::string> common = {"--set", "checkpoint.every_steps=0", "--set",
                                           "checkpoint.memory_every_steps=2"};
  const auto arguments = [&](const fs::path& run, const std::vector<std::string>& more) {
    std::vector<std::string> all = {"run", place.supervised_job(), "--dir", run.string()};
    all.insert(all.end(), common.begin(), common.end());
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  // Undisturbed, and without room: it says so and does without.
  const fs::path calm = place / "calm", run = place / "run";
  ASSERT_EQ(weft(arguments(calm, {"--set", "checkpoint.memory_limit=1e-6"})).code, 0);
  const auto refused = events_of(calm, "memory_copies");
  ASSERT_EQ(refused.size(), 1u);
  const std::string why = refused[0]["message"];
  EXPECT_NE(why.find("checkpoint.memory_limit is"), std::string::npos) << why;
  EXPECT_NE(why.find("checkpoints go to the disk alone"), std::string::npos) << why;

  Weft child(arguments(run, {}), {}, {"WEFT_FAULT=do=kill at=compute rank=2 step=30"});
  const Ended ended = child.wait();
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto resumed = events_of(run, "resumed");
  ASSERT_EQ(resumed.size(), 1u) << "the only checkpoint on the disk is that of the end";
  EXPECT_GE(resumed[0]["details"]["step"], 20);
  EXPECT_NE(resumed[0]["message"].get<std::string>().find("the copy in memory"), std::string::npos);
  EXPECT_EQ(metrics_of(run), metrics_of(calm));
  ASSERT_FALSE(memory_of(run).empty());
  EXPECT_FALSE(fs::exists(memory_of(run)));
}

TEST_F(RunMemory, ADamagedCopyIsNeverUsedAndAKilledAgentLeavesNone) {
  const fs::path run = place / "run";
  Weft child({"run", place.supervised_job(), "--dir", run.string(), "--set",
              "pretrain.steps=100000", "--set", "checkpoint.memory_every_steps=40"});
  fs::path memory;
  ASSERT_TRUE(eventually([&] {
    memory = memory_of(run);
    return !memory.empty() && !copies_in(memory).empty();
  }));
  // A step that is reported after the copy was there comes after the word of the copy.
  const long long then = steps_of(run);
  ASSERT_TRUE(eventually([&] { return steps_of(run) >= then + 3; }));
  const pid_t victim = child.worker(2);
  ASSERT_EQ(::kill(victim, SIGSTOP), 0);  // no further copy comes about
  for (const fs::path& copy : copies_in(memory)) damage(copy);
  ASSERT_EQ(::kill(victim, SIGKILL), 0);
  ASSERT_TRUE(eventually([&] { return !events_of(run, "resumed").empty(); }));
  const auto skipped = events_of(run, "skipped_checkpoint");
  ASSERT_FALSE(skipped.empty());
  const std::string said = skipped[0]["message"];
  EXPECT_NE(said.find("memory/step-"), std::string::npos) << said;
  EXPECT_NE(said.find("checksum"), std::string::npos) << said;
  const std::string name = events_of(run, "resumed")[0]["details"]["checkpoint"];
  EXPECT_TRUE(name.starts_with("step-")) << name;

  ASSERT_TRUE(fs::exists(memory));
  child.kill_agent();
  EXPECT_TRUE(eventually([&] { return !fs::exists(memory); }, std::chrono::seconds(30)));
  EXPECT_TRUE(eventually([&] { return child.everybody().empty(); }, std::chrono::seconds(30)));
}

}  // namespace
}  // namespace weft::test
