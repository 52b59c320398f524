#include "dualpipe/trace.h"

#include <gtest/gtest.h>

#include "chrome_check.h"

namespace weft::dualpipe {
namespace {

TEST(ChromeTrace, EventsOfATrackNeverCrossAndArrowsHaveTwoEnds) {
  const auto schedule = generate(Kind::DualPipe, {4, 8});
  ASSERT_TRUE(schedule);
  Costs costs;
  costs.send = 0.25;
  const auto times = timeline(*schedule, costs);
  ASSERT_TRUE(times);
  const ChromeTrace trace = checked_trace(to_chrome_trace(*schedule, *times));
  std::size_t actions = 0, computed = 0;
  for (int rank = 0; rank < 4; ++rank) {
    actions += schedule->programs[static_cast<std::size_t>(rank)].size();
    computed += trace.tracks.at({rank, 0}).size();
  }
  EXPECT_EQ(computed, actions);
  EXPECT_EQ(trace.arrow_ends.size(), times->transfers.size());
}

}  // namespace
}  // namespace weft::dualpipe
