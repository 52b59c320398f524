// The same checkpoint in other files, and what two checkpoints differ in.
#include <fcntl.h>
#include <unistd.h>

#include <cmath>
#include <set>

#include "tests/trainer/checkpoint_faulty_disk.h"
#include "trainer/checkpoint/difference.h"
#include "trainer/checkpoint/reshard.h"

namespace weft::trainer::checkpoint {
namespace {

using testing_::FaultyDisk;
using testing_::Scratch;
using testing_::SmallRun;

Manifest made_up(std::uint64_t seed) {
  Rng rng(seed, "reshard test");
  Manifest manifest;
  const auto tensors = 1 + rng.below(6);
  for (std::uint64_t i = 0; i < tensors; ++i) {
    TensorEntry tensor{
        rng.below(2) ? "model" : "optim", "t" + std::to_string(i), {}, Dtype::F32, {}};
    const auto dims = rng.below(4);
    for (std::uint64_t d = 0; d < dims; ++d)
      tensor.shape.push_back(static_cast<std::int64_t>(rng.below(12)));
    manifest.tensors.push_back(tensor);
  }
  return manifest;
}

TEST(ShareEvenly, CoversEveryTensorOnceAndGivesEachRankOnePieceOfIt) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const Manifest manifest = made_up(seed);
    for (const int ranks : {1, 2, 3, 7, 40})
      for (const std::uint64_t least : {1, 64, 1000}) {
        std::map<std::size_t, std::vector<Box>> boxes;
        std::set<std::pair<std::size_t, int>> seen;
        for (const Share& share : share_evenly(manifest, ranks, least)) {
          ASSERT_TRUE(share.rank >= 0 && share.rank < ranks);
          ASSERT_TRUE(seen.emplace(share.tensor, share.rank).second) << seed;
          boxes[share.tensor].push_back(share.box);
        }
        ASSERT_EQ(boxes.size(), manifest.tensors.size()) << seed;
        for (const auto& [i, of_tensor] : boxes) {
          const auto good = check_coverage(manifest.tensors[i].shape, of_tensor);
          ASSERT_TRUE(good) << seed << ": " << good.error().message;
        }
      }
  }
}

TEST(ShareEvenly, BalancesTheBytesOfLargeTensors) {
  Manifest manifest;
  for (const std::int64_t rows : {1000, 10, 3000, 500})
    manifest.tensors.push_back({"model", "t" + std::to_string(rows), {rows, 64}, Dtype::F32, {}});
  std::vector<std::int64_t> load(8, 0);
  for (const Share& share : share_evenly(manifest, 8, 1024))
    load[static_cast<std::size_t>(share.rank)] += share.box.shape[0];
  for (const std::int64_t rows : load) EXPECT_NEAR(static_cast<double>(rows), 4510.0 / 8, 8);
}

TEST(ShareByOwner, StaysWithTheCandidatesAndBalancesThem) {
  Manifest manifest;
  for (int i = 0; i < 20; ++i)
    manifest.tensors.push_back({"model", "t" + std::to_string(i), {10 + i}, Dtype::F32, {}});
  std::vector<std::int64_t> load(4, 0);
  for (const Share& share : share_by_owner(manifest, 4, [](const TensorEntry&) {
         return std::vector{1, 3};
       }))
    load[static_cast<std::size_t>(share.rank)] += share.box.shape[0];
  EXPECT_EQ(load[0] + load[2], 0);
  EXPECT_NEAR(static_cast<double>(load[1]), static_cast<double>(load[3]), 12);
}

TEST(Reshard, KeepsEveryNumberAndTheState) {
  const Scratch scratch;
  const SmallRun run(40);
  ASSERT_TRUE(run.save(scratch / "ckpt"));
  for (const int ranks : {1, 3, 16}) {
    auto reader = Reader::open(scratch / "ckpt" / directory_name(40));
    ASSERT_TRUE(reader);
    const fs::path output = scratch / ("of-" + std::to_string(ranks));
    const auto shares = share_evenly(reader->manifest(), ranks, 16);
    const auto made = reshard(*reader, shares, {output, ranks, {ranks, 1, 1, "1f1b"}, "test", {}});
    ASSERT_TRUE(made) << made.error().message;
    run.expect_in(output / directory_name(40));
    const auto manifest = load_manifest(output / directory_name(40));
    EXPECT_EQ(manifest->layout.pipeline, ranks);
    EXPECT_EQ(manifest->tokens, reader->manifest().tokens);
    auto other = Reader::open(output / directory_name(40));
    const auto found = differences(*reader, *other);
    ASSERT_TRUE(found);
    EXPECT_TRUE(found->empty());
  }
}

TEST(Reshard, NeverReplacesWhatIsThere) {
  const Scratch scratch;
  ASSERT_TRUE(SmallRun(40).save(scratch / "ckpt"));
  auto reader = Reader::open(scratch / "ckpt" / directory_name(40));
  const auto shares = share_evenly(reader->manifest(), 2);
  const auto made = reshard(*reader, shares, {scratch / "ckpt", 2, {}, "test", {}});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::Busy);
  SmallRun(40).expect_in(scratch / "ckpt" / directory_name(40));
}

TEST(Reshard, DamageInTheSourceIsFoundNotCopied) {
  const Scratch scratch;
  ASSERT_TRUE(SmallRun(40).save(scratch / "ckpt"));
  const fs::path shard = scratch / "ckpt" / directory_name(40) / shard_file("model", 0);
  const int file = ::open(shard.c_str(), O_RDWR);
  ASSERT_EQ(::pwrite(file, "x", 1, 4100), 1);
  ::close(file);
  auto reader = Reader::open(shard.parent_path().parent_path());
  ASSERT_TRUE(reader);
  const auto made =
      reshard(*reader, share_evenly(reader->manifest(), 2), {scratch / "out", 2, {}, "test", {}});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::Corrupt);
  EXPECT_TRUE(fs::is_empty(scratch / "out"));
}

TEST(Reshard, WhateverEndsItNothingHalfWrittenStays) {
  const Scratch scratch;
  const SmallRun run(40);
  ASSERT_TRUE(run.save(scratch / "ckpt"));
  auto reader = Reader::open(scratch / "ckpt" / directory_name(40));
  ASSERT_TRUE(reader);
  const auto shares = share_evenly(reader->manifest(), 3, 16);
  // Whoever asked for it wants it no more, before each share in turn.
  for (std::size_t stop_at = 0; stop_at < shares.size(); ++stop_at) {
    std::size_t asked = 0;
    const auto stop = [&](int) -> Expected<void> {
      if (asked++ == stop_at) return fail(Code::Unavailable, "interrupted");
      return {};
    };
    const auto made = reshard(*reader, shares, {scratch / "out", 3, {}, "test", stop});
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().message, "interrupted");
    EXPECT_TRUE(fs::is_empty(scratch / "out")) << "stopped before share " << stop_at;
  }
  // The disk refuses once, at each operation in turn.
  int fail_at = 1;
  for (bool failed = true; failed; ++fail_at) {
    ASSERT_LT(fail_at, 1000);
    FaultyDisk disk(fail_at, false, ENOSPC);
    const fs::path out = scratch / ("faulty-" + std::to_string(fail_at));
    const auto made = reshard(*reader, shares, {out, 3, {}, "test", {}}, disk);
    failed = disk.failed();
    const auto left = list_names(out);
    ASSERT_TRUE(left);
    for (const Entry& entry : made ? std::vector<Entry>() : *left) {
      EXPECT_NE(entry.state, EntryState::Partial) << entry.name << ", operation " << fail_at;
    }
    if (made) run.expect_in(out / directory_name(40));
  }
  EXPECT_GT(fail_at, 20);
}

TEST(Differences, TellWhichTensorsAndByHowMuch) {
  const Scratch scratch;
  SmallRun before(40), after(40);
  after.whole["model"]["model.norm.weight"][2] += 0.5f;
  after.whole["model"]["model.embed_tokens.weight"][7] = NAN;
  after.whole["optim"].clear();
  // The reduced run no longer has its optimizer's tensor: rank 1 would write it.
  ASSERT_TRUE(before.save(scratch / "a"));
  const auto partial = prepare(scratch / "b", 40, 1);
  ASSERT_TRUE(partial);
  std::vector<TensorRef> all;
  for (const int rank : {0, 1})
    for (const TensorRef& ref : before.of_rank(rank)) {
      if (ref.item == "optim") continue;
      TensorRef changed = ref;
      if (ref.offset.empty()) changed.data = after.whole["model"][ref.name].data();
      if (ref.offset.empty() || ref.offset[0] == 0) all.push_back(changed);
    }
  for (TensorRef& ref : all)
    if (!ref.offset.empty()) ref = before.ref("model", ref.name);
  const std::vector<ShardReport> reports = {*write_shard(*partial, 0, 1, all)};
  ASSERT_TRUE(commit(scratch / "b", *partial, after.info(), reports));

  auto a = Reader::open(scratch / "a" / directory_name(40));
  auto b = Reader::open(scratch / "b" / directory_name(40));
  const auto found = differences(*a, *b);
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(found->size(), 3u);
  EXPECT_EQ((*found)[0].name, "model.embed_tokens.weight");
  EXPECT_TRUE(std::isinf((*found)[0].max_absolute));
  EXPECT_EQ((*found)[1].name, "model.norm.weight");
  EXPECT_EQ((*found)[1].different, 1u);
  EXPECT_NEAR((*found)[1].max_absolute, 0.5, 1e-6);
  EXPECT_EQ((*found)[2].what, "only in the first");
}

}  // namespace
}  // namespace weft::trainer::checkpoint
