// What a viewer needs of a Chrome trace, checked.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace weft::dualpipe {

struct ChromeTrace {
  nlohmann::json document;
  /// (process, track) -> begin and end in nanoseconds, parents first.
  std::map<std::pair<int, int>, std::vector<std::pair<long long, long long>>> tracks;
  std::map<std::pair<int, int>, std::string> track_names;
  std::map<int, std::string> process_names;
  std::map<int, int> arrow_ends;
};

/// Parses it and expects: slices of a track nest or are apart, arrows have two ends that lie on
/// slices, every track and process has a name.
inline ChromeTrace checked_trace(const std::string& text) {
  ChromeTrace trace;
  trace.document = nlohmann::json::parse(text, nullptr, false);
  EXPECT_FALSE(trace.document.is_discarded());
  if (trace.document.is_discarded()) return trace;
  const auto ns = [](const nlohmann::json& us) { return std::llround(us.get<double>() * 1000); };
  for (const auto& event : trace.document["traceEvents"]) {
    const std::pair<int, int> track{event["pid"], event["tid"]};
    if (event["ph"] == "X")
      trace.tracks[track].push_back({ns(event["ts"]), ns(event["ts"]) + ns(event["dur"])});
    if (event["name"] == "thread_name") trace.track_names[track] = event["args"]["name"];
    if (event["name"] == "process_name") trace.process_names[track.first] = event["args"]["name"];
  }
  for (auto& [track, slices] : trace.tracks) {
    EXPECT_TRUE(trace.track_names.contains(track)) << track.first << '/' << track.second;
    EXPECT_TRUE(trace.process_names.contains(track.first)) << track.first;
    std::ranges::stable_sort(slices, [](const auto& a, const auto& b) {
      return std::pair(a.first, -a.second) < std::pair(b.first, -b.second);
    });
    std::vector<long long> around;
    for (const auto& [begin, end] : slices) {
      EXPECT_LE(begin, end);
      while (!around.empty() && around.back() <= begin) around.pop_back();
      if (!around.empty()) {
        EXPECT_LE(end, around.back()) << track.first << '/' << track.second;
      }
      around.push_back(end);
    }
  }
  for (const auto& event : trace.document["traceEvents"]) {
    if (event["ph"] != "s" && event["ph"] != "f") continue;
    ++trace.arrow_ends[event["id"]];
    const long long at = ns(event["ts"]);
    const auto& slices = trace.tracks[{event["pid"], event["tid"]}];
    EXPECT_TRUE(std::ranges::any_of(slices, [at](const auto& slice) {
      return slice.first <= at && at <= slice.second;
    })) << event.dump();
  }
  for (const auto& [id, ends] : trace.arrow_ends) EXPECT_EQ(ends, 2) << id;
  return trace;
}

}  // namespace weft::dualpipe
