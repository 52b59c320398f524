#include <fstream>

#include "tests/trainer/checkpoint_testing.h"

namespace weft::trainer::checkpoint {
namespace {

using testing_::Scratch;
using testing_::SmallRun;

std::vector<std::string> names_of(const fs::path& ckpt_dir) {
  return *Disk::real().names_in(ckpt_dir);
}

void save(const fs::path& ckpt_dir, std::uint64_t step, std::uint64_t attempt = 1, int keep = 100) {
  const auto committed = SmallRun(step).save(ckpt_dir, Disk::real(), attempt, keep);
  ASSERT_TRUE(committed) << committed.error().message;
  ASSERT_TRUE(committed->warnings.empty()) << committed->warnings[0];
}

void damage(const fs::path& file) { fs::resize_file(file, fs::file_size(file) - 1); }

void flip(const fs::path& file, std::uint64_t at) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(at));
  const int byte = stream.get();
  stream.seekp(static_cast<std::streamoff>(at));
  stream.put(static_cast<char>(byte ^ 4));
}

TEST(Catalog, AnEmptyOrMissingDirectoryHasNothingToResumeFrom) {
  const Scratch scratch;
  EXPECT_TRUE(list(scratch / "missing")->empty());
  const auto choice = newest_complete(scratch.path(), Mode::Full);
  EXPECT_FALSE(choice->chosen);
  EXPECT_TRUE(choice->skipped.empty());
}

TEST(Catalog, ListsEveryEntryWithItsState) {
  const Scratch scratch;
  save(scratch.path(), 10);
  save(scratch.path(), 20);
  fs::remove(scratch / "step-000000020" / kManifestFile);
  ASSERT_TRUE(prepare(scratch.path(), 30, 2));
  std::ofstream(scratch / "README") << "not ours";
  fs::create_directory(scratch / "step-x");
  fs::copy(scratch / "step-000000010", scratch / "step-000000015", fs::copy_options::recursive);
  const auto entries = list(scratch.path());
  ASSERT_EQ(entries->size(), 4u);
  EXPECT_EQ((*entries)[0].state, EntryState::Complete);
  EXPECT_EQ((*entries)[0].step, 10u);
  EXPECT_EQ((*entries)[0].wall_time, "2026-01-31T12:00:00.123Z");
  EXPECT_GT((*entries)[0].bytes, 3u * 4096);
  EXPECT_EQ((*entries)[1].state, EntryState::CorruptManifest) << "a copy under another step's name";
  EXPECT_EQ((*entries)[2].state, EntryState::CorruptManifest);
  EXPECT_NE((*entries)[2].reason.find("MANIFEST.json"), std::string::npos);
  EXPECT_EQ((*entries)[3].state, EntryState::Partial);
  EXPECT_EQ((*entries)[3].attempt, 2u);
}

TEST(Catalog, WhatIsNotAllThereIsIncompleteAndIsWhatResumeSkips) {
  const Scratch scratch;
  for (const std::uint64_t step : {10, 20, 30, 40}) save(scratch.path(), step);
  fs::remove(scratch / "step-000000040" / shard_file("model", 1));
  damage(scratch / "step-000000030" / shard_file("optim", 1));
  flip(scratch / "step-000000020" / shard_file("optim", 1), 4097);  // of the right size
  const auto entries = list(scratch.path(), Mode::Size);
  ASSERT_EQ(entries->size(), 4u);
  EXPECT_EQ((*entries)[0].state, EntryState::Complete);
  EXPECT_EQ((*entries)[1].state, EntryState::Complete) << "bytes are verify's business";
  for (const std::size_t i : {2u, 3u}) {
    EXPECT_EQ((*entries)[i].state, EntryState::Incomplete);
    EXPECT_GT((*entries)[i].bytes, 0u);
  }
  EXPECT_NE((*entries)[2].reason.find(shard_file("optim", 1)), std::string::npos);
  EXPECT_NE((*entries)[2].reason.find("truncated"), std::string::npos);
  EXPECT_NE((*entries)[3].reason.find(shard_file("model", 1)), std::string::npos);
  const auto choice = newest_complete(scratch.path(), Mode::Size);
  ASSERT_TRUE(choice && choice->chosen);
  EXPECT_EQ(choice->chosen->name, (*entries)[1].name);
  ASSERT_EQ(choice->skipped.size(), 2u);
  EXPECT_EQ(choice->skipped[0].reason, (*entries)[3].reason);
  EXPECT_EQ(choice->skipped[1].reason, (*entries)[2].reason);
}

TEST(NewestComplete, FallsBackAndSaysWhy) {
  const Scratch scratch;
  for (const std::uint64_t step : {10, 20, 30, 40, 50}) save(scratch.path(), step);
  ASSERT_TRUE(prepare(scratch.path(), 60, 1));
  damage(scratch / "step-000000050" / shard_file("model", 1));
  damage(scratch / "step-000000040" / kManifestFile);
  flip(scratch / "step-000000030" / shard_file("optim", 1), 4097);
  const auto full = newest_complete(scratch.path(), Mode::Full);
  ASSERT_TRUE(full && full->chosen);
  EXPECT_EQ(full->chosen->name, "step-000000020");
  ASSERT_EQ(full->skipped.size(), 4u);
  EXPECT_EQ(full->skipped[0].name, "step-000000060.partial-a1");
  EXPECT_NE(full->skipped[0].reason.find("never committed"), std::string::npos);
  EXPECT_NE(full->skipped[1].reason.find("truncated"), std::string::npos);
  EXPECT_NE(full->skipped[1].reason.find(shard_file("model", 1)), std::string::npos);
  EXPECT_NE(full->skipped[2].reason.find("manifest"), std::string::npos);
  EXPECT_NE(full->skipped[3].reason.find("model.norm.weight.exp_avg"), std::string::npos);
  EXPECT_EQ(newest_complete(scratch.path(), Mode::Size)->chosen->name, "step-000000030");
  SmallRun(20).expect_in(full->chosen->directory);
}

TEST(Prune, KeepsTheNewestCompleteOnes) {
  const Scratch scratch;
  for (const std::uint64_t step : {10, 20, 30, 40}) save(scratch.path(), step, 1, 2);
  EXPECT_EQ(names_of(scratch.path()),
            (std::vector<std::string>{"latest", "step-000000030", "step-000000040"}));
  save(scratch.path(), 50, 1, 0);
  EXPECT_EQ(names_of(scratch.path()), (std::vector<std::string>{"latest", "step-000000050"}))
      << "one is always kept";
}

TEST(Prune, DamagedOnesDoNotCountAndTheOnlyCompleteOneStays) {
  const Scratch scratch;
  for (const std::uint64_t step : {10, 20, 30, 40}) save(scratch.path(), step);
  damage(scratch / "step-000000030" / shard_file("model", 0));
  fs::remove(scratch / "step-000000040" / kManifestFile);
  ASSERT_TRUE(prune(scratch.path(), {1, 1, 0}));
  EXPECT_EQ(
      names_of(scratch.path()),
      (std::vector<std::string>{"latest", "step-000000020", "step-000000030", "step-000000040"}));
  save(scratch.path(), 50, 2, 1);
  EXPECT_EQ(names_of(scratch.path()), (std::vector<std::string>{"latest", "step-000000050"}));
}

TEST(Prune, TheOneJustCommittedStaysEvenBelowOthers) {
  const Scratch scratch;
  for (const std::uint64_t step : {30, 40}) save(scratch.path(), step);
  save(scratch.path(), 20, 2, 1);
  EXPECT_TRUE(fs::exists(scratch / "step-000000020" / kManifestFile));
  EXPECT_TRUE(fs::exists(scratch / "step-000000040" / kManifestFile));
}

TEST(Prune, StalePartialOnesGoAndThoseBeingWrittenStay) {
  const Scratch scratch;
  const std::vector<std::pair<std::uint64_t, std::uint64_t>> partials = {
      {50, 1}, {50, 3}, {40, 4}, {60, 4}, {90, 5}};  // step, attempt
  for (const auto& [step, attempt] : partials)
    fs::create_directories(scratch / partial_name(step, attempt) / "model");
  fs::create_directories(scratch / "step-000000010.pruned");
  save(scratch.path(), 50, 4);
  EXPECT_EQ(names_of(scratch.path()),
            (std::vector<std::string>{"latest", "step-000000050", "step-000000050.partial-a3",
                                      "step-000000060.partial-a4", "step-000000090.partial-a5"}));
}

TEST(Commit, TheSameStepAgainReplacesTheOldOne) {
  const Scratch scratch;
  save(scratch.path(), 20);
  save(scratch.path(), 40);
  damage(scratch / "step-000000040" / shard_file("model", 0));
  save(scratch.path(), 40, 2);
  EXPECT_EQ(names_of(scratch.path()),
            (std::vector<std::string>{"latest", "step-000000020", "step-000000040"}));
  SmallRun(40).expect_in(scratch / "step-000000040");
}

/// What commit says when `change` has been done to the reports of a good checkpoint.
template <class Change>
std::string refusal(Change change) {
  const Scratch scratch;
  const SmallRun run(40);
  const fs::path partial = *prepare(scratch.path(), 40, 1);
  std::vector<ShardReport> reports;
  for (int rank = 0; rank < 2; ++rank)
    reports.push_back(*write_shard(partial, rank, 2, run.of_rank(rank)));
  ManifestInfo info = run.info();
  change(reports, info, partial);
  const auto committed = commit(scratch.path(), partial, info, reports);
  EXPECT_FALSE(newest_complete(scratch.path(), Mode::Size)->chosen);
  return committed ? "accepted" : committed.error().message;
}

TEST(Commit, RefusesWhatIsNotComplete) {
  using Reports = std::vector<ShardReport>;
  EXPECT_NE(refusal([](Reports& r, ManifestInfo&, const fs::path&) {
              r.pop_back();
            }).find("rank 1 is missing"),
            std::string::npos);
  EXPECT_NE(refusal([](Reports& r, ManifestInfo&, const fs::path&) {
              r[1] = r[0];
            }).find("rank 0 came twice"),
            std::string::npos);
  EXPECT_NE(
      refusal([](Reports& r, ManifestInfo&, const fs::path&) {
        std::erase_if(r[1].tensors, [](const auto& t) { return t.shape.size() == 2; });
      }).find("gate_proj.weight' of shape [6, 4]: a hole: no piece holds the element at [2, 0]"),
      std::string::npos);
  EXPECT_NE(refusal([](Reports& r, ManifestInfo&, const fs::path&) {
              for (auto& t : r[1].tensors)
                if (t.shape.size() == 2) t.pieces[0].box.offset = {1, 0};
            }).find("an overlap: the element at [1, 0]"),
            std::string::npos);
  EXPECT_NE(refusal([](Reports& r, ManifestInfo&, const fs::path&) {
              std::erase_if(r[1].tensors, [](const auto& t) { return t.item == "optim"; });
            }).find("optim tensor 'model.norm.weight.exp_avg': no rank has written it"),
            std::string::npos);
  EXPECT_NE(refusal([](Reports&, ManifestInfo& i, const fs::path&) {
              i.expected.pop_back();
            }).find("not expected"),
            std::string::npos);
  EXPECT_NE(refusal([](Reports&, ManifestInfo& i, const fs::path&) {
              i.expected[0].shape = {60};
            }).find("expected [60]"),
            std::string::npos);
  EXPECT_NE(refusal([](Reports&, ManifestInfo&, const fs::path& partial) {
              fs::remove(partial / shard_file("model", 1));
            }).find(shard_file("model", 1)),
            std::string::npos);
  EXPECT_NE(refusal([](Reports&, ManifestInfo&, const fs::path& partial) {
              damage(partial / shard_file("model", 1));
            }).find("its rank wrote"),
            std::string::npos);
}

}  // namespace
}  // namespace weft::trainer::checkpoint
