#include "tests/trainer/checkpoint_testing.h"
#include "trainer/checkpoint/manifest.h"

namespace weft::trainer::checkpoint {
namespace {

testing::AssertionResult says(const Expected<void>& result, const std::string& part) {
  if (result) return testing::AssertionFailure() << "accepted";
  if (result.error().message.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "'" << result.error().message << "' does not say " << part;
}

Manifest small_manifest() {
  Manifest m;
  m.run = "größe \"quoted\"";
  m.attempt = 3;
  m.step = 40;
  m.tokens = 1'000'000;
  m.wall_time = "2026-01-31T12:00:00.123Z";
  m.writer = "weft test";
  m.model_fingerprint = "abc";
  m.parent = "step-000000020";
  m.layout = {2, 4, 2, "dualpipe"};
  const std::string a = "model/a.safetensors", b = "model/b.safetensors";
  m.tensors = {{"model",
                "w",
                {4, 6},
                Dtype::F32,
                {{a, {{0, 0}, {4, 2}}, 32, {1, 2}}, {b, {{0, 2}, {4, 4}}, 64, {3, 4}}}}};
  m.files = {{a, 4128, {5, 6}}, {b, 4160, {7, 8}}};
  return m;
}

TEST(Coverage, AcceptsExactTilings) {
  EXPECT_TRUE(check_coverage({}, std::vector<Box>{{{}, {}}}));
  EXPECT_TRUE(check_coverage({0, 4}, std::vector<Box>{{{0, 0}, {0, 4}}}));
  EXPECT_TRUE(check_coverage({4}, std::vector<Box>{{{2}, {2}}, {{0}, {2}}}));
  // A pinwheel: no straight cut goes through it.
  EXPECT_TRUE(check_coverage({3, 3}, std::vector<Box>{{{0, 0}, {1, 2}},
                                                      {{0, 2}, {2, 1}},
                                                      {{2, 1}, {1, 2}},
                                                      {{1, 0}, {2, 1}},
                                                      {{1, 1}, {1, 1}}}));
}

TEST(Coverage, NamesTheHoleTheOverlapAndTheBoxOutside) {
  EXPECT_TRUE(says(check_coverage({4, 2}, std::vector<Box>{{{0, 0}, {2, 2}}, {{2, 1}, {2, 1}}}),
                   "a hole: no piece holds the element at [2, 0]"));
  EXPECT_TRUE(says(check_coverage({4}, std::vector<Box>{{{0}, {3}}, {{2}, {2}}}),
                   "an overlap: the element at [2]"));
  EXPECT_TRUE(says(check_coverage({}, std::vector<Box>{{{}, {}}, {{}, {}}}), "an overlap"));
  EXPECT_TRUE(says(check_coverage({4}, std::vector<Box>{{{2}, {3}}}), "does not lie in"));
  EXPECT_TRUE(says(check_coverage({4}, std::vector<Box>{{{-1}, {5}}}), "does not lie in"));
  EXPECT_TRUE(says(check_coverage({4}, std::vector<Box>{{{0, 0}, {4, 1}}}), "does not lie in"));
  EXPECT_TRUE(says(check_coverage({4}, {}), "no piece at all"));
  EXPECT_TRUE(says(check_coverage({4}, std::vector<Box>{{{0}, {4}}, {{4}, {0}}}), "no element"));
  EXPECT_TRUE(says(check_coverage({0}, std::vector<Box>{{{0}, {0}}, {{0}, {0}}}), "exactly one"));
}

// Against counting: a random set of boxes in a small shape covers it once or does not.
TEST(Coverage, AgreesWithCountingEveryElement) {
  Rng rng(7, "coverage");
  int good = 0;
  for (int round = 0; round < 3000; ++round) {
    const Shape global = {1 + rng.below(3), 1 + rng.below(4), 1 + rng.below(2)};
    // Cut the whole at random, then sometimes change one box.
    std::vector<Box> boxes = {{{0, 0, 0}, global}};
    for (int cut = 0; cut < 4; ++cut) {
      Box& box = boxes[rng.below(static_cast<std::uint32_t>(boxes.size()))];
      const std::size_t d = rng.below(3);
      if (box.shape[d] < 2) continue;
      Box rest = box;
      box.shape[d] = 1 + rng.below(static_cast<std::uint32_t>(box.shape[d] - 1));
      rest.offset[d] += box.shape[d];
      rest.shape[d] -= box.shape[d];
      boxes.push_back(rest);
    }
    if (rng.below(2) == 0) {
      Box& box = boxes[rng.below(static_cast<std::uint32_t>(boxes.size()))];
      const std::size_t d = rng.below(3);
      box.offset[d] = rng.below(static_cast<std::uint32_t>(global[d]));
      box.shape[d] = 1 + rng.below(static_cast<std::uint32_t>(global[d] - box.offset[d]));
    }
    std::map<Shape, int> count;
    for (const Box& b : boxes)
      for (std::int64_t x = 0; x < b.shape[0]; ++x)
        for (std::int64_t y = 0; y < b.shape[1]; ++y)
          for (std::int64_t z = 0; z < b.shape[2]; ++z)
            ++count[{b.offset[0] + x, b.offset[1] + y, b.offset[2] + z}];
    bool once = count.size() == *num_elements(global);
    for (const auto& [at, n] : count) once &= n == 1;
    EXPECT_EQ(check_coverage(global, boxes).has_value(), once) << "round " << round;
    good += once;
  }
  EXPECT_GT(good, 500);
  EXPECT_LT(good, 2700);
}

TEST(Coverage, CrookedPiecesCannotMakeItRunForEver) {
  std::vector<Box> boxes;  // three stacks of slabs, one along each dim, all alive together
  constexpr std::int64_t n = 5000;
  for (std::int64_t i = 0; i < n; ++i) {
    boxes.push_back({{i, 0, 0}, {1, n, 1}});
    boxes.push_back({{0, i, 1}, {n, 1, 1}});
    boxes.push_back({{i, 0, 2}, {1, n, 1}});
  }
  EXPECT_TRUE(says(check_coverage({n, n, 3}, boxes), "too crooked"));
}

TEST(Scatter, PutsEveryElementInItsPlace) {
  const Shape global = {3, 4, 2};
  std::vector<float> whole(24, -1), wanted(24, -1);
  const Box box = {{1, 1, 0}, {2, 2, 2}};
  std::vector<float> piece(8);
  for (std::size_t i = 0; i < 8; ++i) piece[i] = static_cast<float>(i);
  for (std::size_t x = 0; x < 2; ++x)
    for (std::size_t y = 0; y < 2; ++y)
      for (std::size_t z = 0; z < 2; ++z)
        wanted[((x + 1) * 4 + y + 1) * 2 + z] = piece[(x * 2 + y) * 2 + z];
  scatter(global, box, reinterpret_cast<const std::byte*>(piece.data()),
          reinterpret_cast<std::byte*>(whole.data()), 4);
  EXPECT_EQ(whole, wanted);
}

TEST(Manifest, ComesBackFromItsText) {
  const Manifest manifest = small_manifest();
  const auto text = to_json(manifest);
  ASSERT_TRUE(text) << text.error().message;
  const auto back = from_json(*text);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, manifest);
  EXPECT_TRUE(from_json(*to_json(Manifest{})));
}

TEST(Manifest, AFlippedByteAnywhereIsFound) {
  const std::string text = *to_json(small_manifest());
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const int bit : {0, 3, 5, 7}) {
      std::string flipped = text;
      flipped[i] = static_cast<char>(flipped[i] ^ 1 << bit);
      ASSERT_FALSE(from_json(flipped)) << "byte " << i << " bit " << bit;
    }
    ASSERT_FALSE(from_json(text.substr(0, i))) << "cut at " << i;
  }
}

TEST(Manifest, RefusesTensorsThatDoNotAddUp) {
  const auto broken = [](auto change) {
    Manifest m = small_manifest();
    change(m);
    return validate(m);
  };
  EXPECT_TRUE(
      says(broken([](Manifest& m) { m.tensors[0].pieces.pop_back(); }),
           "model tensor 'w' of shape [4, 6]: a hole: no piece holds the element at [0, 2]"));
  EXPECT_TRUE(says(broken([](Manifest& m) { m.tensors[0].pieces[1].bytes = 60; }), "does not fit"));
  EXPECT_TRUE(says(broken([](Manifest& m) { m.files.pop_back(); }), "is not listed"));
  EXPECT_TRUE(says(broken([](Manifest& m) { m.files[0].bytes = 20; }), "exceed its size"));
  EXPECT_TRUE(says(broken([](Manifest& m) { m.tensors.push_back(m.tensors[0]); }), "listed twice"));
  EXPECT_TRUE(says(broken([](Manifest& m) { m.files[1].path = m.files[0].path; }), "listed twice"));
  EXPECT_TRUE(says(broken([](Manifest& m) { m.tensors[0].item = "../x"; }), "folder name"));
  EXPECT_TRUE(
      says(broken([](Manifest& m) { m.tensors[0].item = "optim"; }), "is not a shard in optim/"));
  EXPECT_TRUE(says(broken([](Manifest& m) { m.tensors[0].shape = {4, 1ll << 61}; }), "2^62"));
  EXPECT_TRUE(says(broken([](Manifest& m) { m.tensors[0].pieces[1].file = m.files[0].path; }),
                   "two pieces in one file"));
  EXPECT_TRUE(says(broken([](Manifest& m) { m.tensors[0].pieces[1].file = "model/b.bin"; }),
                   "is not a shard"));
}

TEST(Manifest, PathsCannotLeaveTheCheckpoint) {
  for (const char* good : {"a", "model/x-1.safetensors", "a/b/c_d.e"})
    EXPECT_TRUE(is_plain_path(good)) << good;
  for (const char* bad :
       {"", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/.b", "a b", "a\nb", "a\\b"})
    EXPECT_FALSE(is_plain_path(bad)) << bad;
  for (const char* path : {"/etc/passwd", "../x", "MANIFEST.json"}) {
    Manifest m = small_manifest();
    m.files.insert(m.files.begin(), {path, 1, {}});
    EXPECT_TRUE(says(validate(m), "not a path")) << path;
  }
}

TEST(ShardReport, APeersBytesAreChecked) {
  ShardReport report;
  report.rank = 1;
  report.world = 4;
  report.tensors = small_manifest().tensors;
  report.files = small_manifest().files;
  const std::string text = report.to_json();
  EXPECT_EQ(*ShardReport::from_json(text), report);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    const auto at = changed.find(from);
    EXPECT_NE(at, changed.npos) << from;
    return ShardReport::from_json(changed.replace(at, from.size(), to));
  };
  EXPECT_FALSE(with("\"rank\":1", "\"rank\":4"));
  EXPECT_FALSE(with("\"rank\":1", "\"rank\":-1"));
  EXPECT_FALSE(with("\"rank\":1", "\"rank\":1,\"rank\":1"));
  EXPECT_FALSE(with("model/a.safetensors", "model/../../a"));
  EXPECT_FALSE(with("\"bytes\":32", "\"bytes\":33"));
  EXPECT_FALSE(with("\"F32\"", "\"X32\""));
  EXPECT_FALSE(with("v1", "v2"));
  for (std::size_t i = 0; i < text.size(); ++i)
    EXPECT_FALSE(ShardReport::from_json(text.substr(0, i))) << i;
}

}  // namespace
}  // namespace weft::trainer::checkpoint
