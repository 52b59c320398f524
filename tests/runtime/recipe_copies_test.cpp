// Is there room for copies of the state in memory?
#include "runtime/worker/recipe_copies.h"

#include <gtest/gtest.h>

namespace weft::runtime {
namespace {

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
  EXPECT_NE(limited.find("checkpoint.memory_limit is 2.9 GiB"), std::string::npos) << limited;
}

TEST(MemoryRoom, WhatCopiesOfBeforeHoldIsNotWantedTwice) {
  EXPECT_EQ(why_no_room(kGib, {.free_in_root = 2 * kGib, .available = 7 * kGib, .held = kGib}), "");
}

}  // namespace
}  // namespace weft::runtime
