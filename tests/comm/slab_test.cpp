#include "comm/local/slab.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdint>
#include <map>
#include <vector>

#include "base/rng.h"

namespace weft::comm {
namespace {

constexpr std::size_t kPage = 4096, kPages = 64;

class SlabTest : public testing::Test {
 protected:
  std::byte* memory = static_cast<std::byte*>(
      ::mmap(nullptr, kPages* kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  Slab slab{memory, kPages* kPage};
  ~SlabTest() override { ::munmap(memory, kPages * kPage); }
};

TEST_F(SlabTest, GivesWholePagesUntilNoneAreLeft) {
  EXPECT_EQ(slab.take(1), memory);
  EXPECT_EQ(slab.take(kPage + 1), memory + kPage);
  EXPECT_EQ(slab.take(kPages * kPage), nullptr);
  EXPECT_EQ(slab.take(~std::size_t{0}), nullptr);
  EXPECT_NE(slab.take((kPages - 3) * kPage), nullptr);
  EXPECT_EQ(slab.take(1), nullptr);
}

TEST_F(SlabTest, KnowsItsOwn) {
  EXPECT_TRUE(slab.holds(memory));
  EXPECT_TRUE(slab.holds(memory + kPages * kPage - 1));
  EXPECT_FALSE(slab.holds(memory + kPages * kPage));
  EXPECT_FALSE(slab.holds(nullptr));
}

TEST_F(SlabTest, WhatIsGivenBackGrowsTogetherAndReadsAsZero) {
  std::vector<std::byte*> pages;
  for (std::size_t i = 0; i < kPages; ++i) {
    pages.push_back(slab.take(kPage));
    *pages.back() = std::byte{1};
  }
  for (std::size_t i = 0; i < kPages; i += 2) slab.give_back(pages[i], kPage);
  EXPECT_EQ(slab.take(2 * kPage), nullptr);
  for (std::size_t i = 1; i < kPages; i += 2) slab.give_back(pages[i], kPage);
  std::byte* const all = slab.take(kPages * kPage);
  ASSERT_EQ(all, memory);
  for (std::size_t i = 0; i < kPages; ++i) EXPECT_EQ(all[i * kPage], std::byte{0});
}

TEST_F(SlabTest, NeverGivesTheSameBytesTwice) {
  Rng rng(4, "slab");
  std::map<std::byte*, std::size_t> held;
  for (int i = 0; i < 3000; ++i) {
    const std::size_t bytes = 1 + rng.below(10 * kPage);
    if (std::byte* const at = rng.below(2) == 0 ? slab.take(bytes) : nullptr) {
      const auto after = held.lower_bound(at);
      ASSERT_TRUE(after == held.end() || at + bytes <= after->first);
      ASSERT_TRUE(after == held.begin() ||
                  std::prev(after)->first + std::prev(after)->second <= at);
      held[at] = bytes;
    } else if (!held.empty()) {
      const auto victim = std::next(held.begin(), rng.below(static_cast<unsigned>(held.size())));
      slab.give_back(victim->first, victim->second);
      held.erase(victim);
    }
  }
}

}  // namespace
}  // namespace weft::comm
