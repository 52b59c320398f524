// Copies of the state in memory: is there room, are they made and told, does a run go on from one
// to the bit, and never from a damaged one? The recipe itself, every rank a thread of the test.
#include "runtime/worker/recipe_copies.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/runtime/engine_world.h"
#include "tests/scratch.h"

namespace weft::runtime {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr double kGib = 1024.0 * 1024 * 1024;

TEST(MemoryRoom, ThreeCopiesAndABufferFitIntoHalfOfWhatIsAvailable) {
  EXPECT_EQ(why_no_room(kGib, {.free_in_root = 3 * kGib, .available = 8 * kGib}), "");
  EXPECT_NE(why_no_room(kGib, {.free_in_root = 3 * kGib, .available = 7.9 * kGib}), "");
}

TEST(MemoryRoom, TheFileSystemInMemoryAndTheLimitCountToo) {
  const std::string full = why_no_room(kGib, {.free_in_root = 2.9 * kGib, .available = 99 * kGib});
  EXPECT_NE(full.find("memory file system"), std::string::npos) << full;
  const std::string limited =
      why_no_room(kGib, {.free_in_root = 99 * kGib, .available = 99 * kGib, .limit = 2.9 * kGib});
  EXPECT_NE(limited.find("checkpoint.memory_limit is 2.90 GiB"), std::string::npos) << limited;
}

TEST(MemoryRoom, WhatCopiesOfBeforeHoldIsNotWantedTwice) {
  EXPECT_EQ(why_no_room(kGib, {.free_in_root = 2 * kGib, .available = 7 * kGib, .held = kGib}), "");
}

/// Of one rank. Rank 0's waits in step 6 until there is a copy, so that it is told in the next.
class Kept final : public Reporter {
 public:
  explicit Kept(fs::path first_copy) : first_copy_(std::move(first_copy)) {}
  void metrics(const json& record) override {
    losses[record["step"]] = record["loss"];
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!first_copy_.empty() && record["step"] == 6 && !fs::exists(first_copy_) &&
           std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  void event(const std::string& kind, const std::string& message, const json&) override {
    events.emplace_back(kind, message);
  }
  void samples(long long, const std::vector<json>&) override {}
  void damaged(const std::string& name) override { bad = name; }
  void copied(const MemoryCopy& copy) override { copies.push_back(copy.checkpoint.name); }
  void flush() override {}

  std::map<long long, double> losses;  // by step
  std::vector<std::pair<std::string, std::string>> events;
  std::vector<std::string> copies;
  std::string bad;

 private:
  fs::path first_copy_;
};

class RecipeCopiesTest : public testing::Test {
 protected:
  void SetUp() override {
    job.model = tiny_model(4);
    job.model.vocab_size = 320;
    job.model.max_position_embeddings = 128;
    job.tokenizer.numbers = 49;
    job.data.max_difficulty = 3;
    job.pretrain.steps = 12;
    job.pretrain.batch = 16;
    job.pretrain.eval_problems = 4;
    job.checkpoint.every_steps = 0;
    job.checkpoint.memory_every_steps = 5;
    job.control.wait_bound_s = 20;
    job.parallel.schedule = "1f1b";
    job.parallel.pipeline = 2;
    job.parallel.data = job.parallel.expert = 1;
    job.parallel.micro_batches = 4;
    fs::create_directory(memory());
  }

  fs::path memory() const { return root / "memory"; }
  /// Where rank `rank` runs; ranks of one node share its memory.
  std::string node(std::size_t rank) const { return rank < nodes.size() ? nodes[rank] : ""; }
  fs::path memory_of(const std::string& name) const {
    return name.empty() ? memory() : root / ("memory-" + name);
  }
  /// Every rank walks the recipe from `resume` on. How each ended, and what it said.
  struct Walked {
    std::vector<Expected<void>> ends;
    std::vector<std::unique_ptr<Kept>> kept;
  };
  Walked walk(const std::string& resume, const fs::path& first_copy = {}) {
    const int world_size = job.parallel.pipeline * job.parallel.data;
    Walked walked;
    const SystemClock clock;
    for (int rank = 0; rank < world_size; ++rank)
      walked.kept.push_back(std::make_unique<Kept>(first_copy));
    const auto on_rank = [&](comm::Transport& transport, int rank) -> Expected<void> {
      const auto at = static_cast<std::size_t>(rank);
      RecipeOptions options;
      options.checkpoints = root / "ckpt";
      options.node = node(at);
      options.memory = memory_of(options.node);
      fs::create_directories(options.memory);
      options.secret.fill(std::byte{7});
      options.attempt = attempt;
      options.resume = resume;
      options.resume_generation = 1;
      options.stop_requested = [] { return false; };
      WEFT_TRY_ASSIGN(const auto recipe,
                      Recipe::open(job, transport, options, *walked.kept[at], clock));
      WEFT_TRY(recipe->run());
      return {};
    };
    // Each rank is to find by itself what is wrong.
    walked.ends = in_world(world_size, on_rank, true);
    return walked;
  }

  Job job;
  const test::Scratch scratch;
  const fs::path root = scratch.path();
  std::vector<std::string> nodes;  // by rank; empty: all on one
  int attempt = 1;
};

TEST_F(RecipeCopiesTest, ARunGoesOnFromACopyToTheBitAndNeverFromADamagedOne) {
  const Walked whole = walk("", memory() / "step-000000005" / "MANIFEST.json");
  for (const auto& end : whole.ends) ASSERT_TRUE(end) << end.error().message;
  ASSERT_FALSE(whole.kept[0]->copies.empty());
  const std::string copy = whole.kept[0]->copies.back();
  ASSERT_TRUE(is_in_memory(copy)) << copy;
  const auto& expected = whole.kept[0]->losses;
  ASSERT_EQ(expected.size(), 12u);

  fs::remove_all(root / "ckpt");  // it begins with the memory alone
  const Walked rest = walk(copy);
  for (const auto& end : rest.ends) ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(rest.kept[0]->events.front().first, "resumed");
  const auto& losses = rest.kept[0]->losses;
  ASSERT_FALSE(losses.empty());
  EXPECT_EQ(losses.begin()->first, std::stoll(copy.substr(copy.find("step-") + 5)) + 1);
  for (const auto& [step, loss] : losses) EXPECT_EQ(loss, expected.at(step)) << "step " << step;

  const std::string newest = rest.kept[0]->copies.empty() ? copy : rest.kept[0]->copies.back();
  for (const auto& entry :
       fs::directory_iterator(memory() / newest.substr(kInMemory.size()) / "model")) {
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-8, std::ios::end);
    file.write("damaged!", 8);
  }
  const Walked refused = walk(newest);
  for (std::size_t rank = 0; rank < refused.ends.size(); ++rank) {
    ASSERT_FALSE(refused.ends[rank]);
    EXPECT_EQ(refused.ends[rank].error().code, Code::Corrupt);
    EXPECT_EQ(refused.kept[rank]->bad, newest);
  }
}

void damage_end_of(const fs::path& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-8, std::ios::end);
  file.write("damaged!", 8);
}

/// Files of weights and moments below a copy: how many, and optionally damaged.
int shards_in(const fs::path& copy, bool damage = false) {
  int shards = 0;
  for (const char* part : {"model", "optim"})
    if (fs::exists(copy / part))
      for (const auto& entry : fs::directory_iterator(copy / part)) {
        ++shards;
        if (damage) damage_end_of(entry.path());
      }
  return shards;
}

TEST_F(RecipeCopiesTest, EachNodeKeepsItsOwnPartAndAnothersAndOneLossIsMadeGoodFromThat) {
  job.parallel.pipeline = 3;
  job.parallel.micro_batches = 6;
  job.pretrain.batch = 18;
  nodes = {"a", "b", "c"};
  const Walked whole = walk("", memory_of("a") / "step-000000005" / "MANIFEST.json");
  for (const auto& end : whole.ends) ASSERT_TRUE(end) << end.error().message;
  ASSERT_FALSE(whole.kept[0]->copies.empty());
  const std::string copy = whole.kept[0]->copies.front();
  const std::string name = copy.substr(kInMemory.size());
  ASSERT_EQ(name, "step-000000005");
  for (const char* node : {"a", "b", "c"})
    EXPECT_EQ(shards_in(memory_of(node) / name), 4) << "node " << node;

  // c is gone, and d comes in its place: the ranks find what they need on a and b.
  nodes = {"a", "b", "d"};
  attempt = 2;
  fs::remove_all(memory_of("c"));
  const Walked rest = walk(copy);
  for (const auto& end : rest.ends) ASSERT_TRUE(end) << end.error().message;
  const auto& losses = rest.kept[0]->losses;
  ASSERT_FALSE(losses.empty());
  EXPECT_EQ(losses.begin()->first, 6);
  for (const auto& [step, loss] : losses)
    EXPECT_EQ(loss, whole.kept[0]->losses.at(step)) << "step " << step;
}

TEST_F(RecipeCopiesTest, ADamagedReplicaIsFoundByItsHashAndNotUsed) {
  nodes = {"a", "b"};
  const Walked whole = walk("", memory_of("a") / "step-000000005" / "MANIFEST.json");
  for (const auto& end : whole.ends) ASSERT_TRUE(end) << end.error().message;
  const std::string name = "step-000000005";
  ASSERT_EQ(shards_in(memory_of("a") / name), 4);
  // Node b is gone; a has its shards, and they go bad.
  for (const char* part : {"model", "optim"})
    for (const auto& entry : fs::directory_iterator(memory_of("a") / name / part))
      if (entry.path().filename().string().starts_with("shard-00002")) damage_end_of(entry.path());
  nodes = {"a", "c"};
  attempt = 2;
  const Walked refused = walk(in_memory(name));
  for (std::size_t rank = 0; rank < refused.ends.size(); ++rank) {
    ASSERT_FALSE(refused.ends[rank]);
    EXPECT_EQ(refused.ends[rank].error().code, Code::Corrupt);
    EXPECT_NE(refused.ends[rank].error().message.find("checksum"), std::string::npos)
        << refused.ends[rank].error().message;
    EXPECT_EQ(refused.kept[rank]->bad, in_memory(name));
  }
}

TEST_F(RecipeCopiesTest, WithoutRoomItSaysSoAndGoesOn) {
  job.checkpoint.memory_limit_gib = 1e-6;
  job.pretrain.steps = 6;
  const Walked walked = walk("");
  for (const auto& end : walked.ends) ASSERT_TRUE(end) << end.error().message;
  EXPECT_TRUE(fs::is_empty(memory()));
  std::string said;
  for (const auto& [kind, message] : walked.kept[0]->events)
    if (kind == "memory_copies") said = message;
  EXPECT_NE(said.find("checkpoint.memory_limit is"), std::string::npos) << said;
  EXPECT_NE(said.find("checkpoints go to the disk alone"), std::string::npos) << said;
}

}  // namespace
}  // namespace weft::runtime
