#include "dualpipe/svg.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "all_sizes.h"
#include "dualpipe/grid.h"

namespace weft::dualpipe {
namespace {

using testing::HasSubstr;

int occurrences(const std::string& text, const std::string& of) {
  int count = 0;
  for (auto at = text.find(of); at != std::string::npos; at = text.find(of, at + 1)) ++count;
  return count;
}

TEST(Svg, DrawsEveryComputeActionOnceWithATooltip) {
  for_all_sizes(4, 10, [](const Schedule& schedule) {
    std::size_t actions = 0;
    for (const auto& program : schedule.programs) actions += program.size();
    const Schedule lowered = add_step_end(add_messages(schedule));
    const std::string svg = to_svg(lowered, *timeline(lowered));
    ASSERT_EQ(occurrences(svg, "<g class=\"a\">"), static_cast<int>(actions));
    ASSERT_EQ(occurrences(svg, "<title>"), static_cast<int>(actions) + 1);
    ASSERT_EQ(svg.find("=\"nan"), std::string::npos);
  });
}

TEST(Svg, FollowsTheReadersColourPreference) {
  const Schedule schedule = must_generate(Kind::DualPipe, 2, 4);
  EXPECT_THAT(to_svg(schedule, *timeline(schedule)), HasSubstr("prefers-color-scheme:dark"));
}

TEST(Grid, IsTheStaircase) {
  const Schedule schedule = must_generate(Kind::OneFOneB, 2, 2);
  EXPECT_EQ(grid(schedule, *timeline(schedule)),
            "0 |F0 F1       B0---    B1---\n"
            "1 |   F0 B0--- F1 B1---\n");
}

TEST(Grid, ShowsPairsAndBothDirections) {
  const Schedule schedule = must_generate(Kind::DualPipe, 2, 4);
  EXPECT_THAT(grid(schedule, *timeline(schedule)), HasSubstr("f1B0"));
}

}  // namespace
}  // namespace weft::dualpipe
