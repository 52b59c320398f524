#include "dualpipe/trace.h"

#include <gtest/gtest.h>

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
  std::map<std::pair<int, int>, double> track_end;
  std::map<int, int> ends_of_flow;
  int computed = 0;
  for (const auto& event : trace["traceEvents"]) {
    const std::string phase = event["ph"];
    if (phase == "s" || phase == "f") ++ends_of_flow[event["id"]];
    if (phase != "X") continue;
    double& end = track_end[{event["pid"], event["tid"]}];
    EXPECT_GE(event["ts"].get<double>(), end - 1e-6);
    end = event["ts"].get<double>() + event["dur"].get<double>();
    computed += event["tid"] == 0;
  }
  int actions = 0;
  for (const auto& program : schedule->programs) actions += static_cast<int>(program.size());
  EXPECT_EQ(computed, actions);
  EXPECT_EQ(ends_of_flow.size(), times->transfers.size());
  for (const auto& [id, ends] : ends_of_flow) EXPECT_EQ(ends, 2) << id;
}

}  // namespace
}  // namespace weft::dualpipe
