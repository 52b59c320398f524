#include "dualpipe/trace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

namespace weft::dualpipe {
namespace {

TEST(ChromeTrace, EventsOfATrackNeverOverlapAndArrowsHaveTwoEnds) {
  const auto schedule = generate(Kind::DualPipe, {4, 8});
  ASSERT_TRUE(schedule);
  Costs costs;
  costs.send = 0.25;
  const auto times = timeline(*schedule, costs);
  ASSERT_TRUE(times);
  const auto trace = nlohmann::json::parse(to_chrome_trace(*schedule, *times));
  std::map<std::pair<int, int>, std::vector<std::pair<double, double>>> tracks;
  std::map<int, int> ends_of_flow;
  int computed = 0;
  for (const auto& event : trace["traceEvents"]) {
    const std::string phase = event["ph"];
    if (phase == "s" || phase == "f") ++ends_of_flow[event["id"]];
    if (phase != "X") continue;
    const double begin = event["ts"];
    tracks[{event["pid"], event["tid"]}].push_back({begin, begin + event["dur"].get<double>()});
    computed += event["tid"] == 0;
  }
  for (auto& [track, spans] : tracks) {
    std::ranges::sort(spans);
    for (std::size_t i = 1; i < spans.size(); ++i)
      EXPECT_GE(spans[i].first, spans[i - 1].second - 1e-6) << track.first << '/' << track.second;
  }
  int actions = 0;
  for (const auto& program : schedule->programs) actions += static_cast<int>(program.size());
  EXPECT_EQ(computed, actions);
  EXPECT_EQ(ends_of_flow.size(), times->transfers.size());
  for (const auto& [id, ends] : ends_of_flow) EXPECT_EQ(ends, 2) << id;
}

}  // namespace
}  // namespace weft::dualpipe
