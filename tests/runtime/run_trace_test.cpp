// `weft trace` on real runs: finished, killed in the middle, and one whose disk refused the ring.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/dualpipe/chrome_check.h"
#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::vector<std::string> tiny(const Place& place, const std::string& directory) {
  return {"run",   place.supervised_job(), "--dir", directory,
          "--set", "pretrain.steps=6",     "--set", "trace.steps=3"};
}

std::vector<long long> steps_of_list(const json& list) {
  std::vector<long long> steps;
  for (const json& one : list.value("items", json::array())) steps.push_back(one["step"]);
  return steps;
}

TEST(RunTrace, EachKeptStepIsListedAndDrawnMeasuredBesidePredicted) {
  const Place place;
  const std::string run = (place / "r").string();
  ASSERT_EQ(weft(tiny(place, run)).code, 0);

  const Ended listed = weft({"trace", run, "--list", "--json"});
  ASSERT_EQ(listed.code, 0) << listed.err;
  const json list = json::parse(listed.out);
  EXPECT_EQ(list["schema"], "weft.trace/v1");
  const std::vector<long long> steps = steps_of_list(list);
  ASSERT_GE(steps.size(), 3u);
  EXPECT_EQ(steps.back(), 6);
  for (const json& one : list["items"]) {
    EXPECT_EQ(one["closed"], true);
    EXPECT_EQ(one["ranks"].size(), 4u);
  }

  const Ended drawn = weft({"trace", run, "--step", "5", "-o", "-"});
  ASSERT_EQ(drawn.code, 0) << drawn.err;
  const dualpipe::ChromeTrace trace = dualpipe::checked_trace(drawn.out);
  EXPECT_EQ(trace.process_names.size(), 4u + 2u) << "four ranks, two predicted positions";
  EXPECT_FALSE(trace.arrow_ends.empty());
  EXPECT_EQ(trace.document["otherData"]["step"], 5);
  EXPECT_NE(drawn.err.find("predicted"), std::string::npos) << drawn.err;
  bool moved = false;
  for (const json& event : trace.document["traceEvents"])
    moved |=
        event.contains("cat") && event["cat"] == "exchange" && event["args"].value("bytes", 0) > 0;
  EXPECT_TRUE(moved) << "an exchange says how much it brought";

  const Ended one =
      weft({"trace", run, "--replica", "1", "--cost", "F=100,B=200,FB=300"}, place.root());
  ASSERT_EQ(one.code, 0) << one.err;
  const std::string packed = text_of(place / "trace-6.json.gz");
  EXPECT_EQ(packed.substr(0, 2), "\x1f\x8b");
  EXPECT_NE(one.err.find("trace-6.json.gz"), std::string::npos) << one.err;

  const Ended unknown = weft({"trace", run, "--step", "1"});
  EXPECT_EQ(unknown.code, 65);
  EXPECT_NE(unknown.err.find("4, 5, 6"), std::string::npos) << unknown.err;
  EXPECT_EQ(weft({"trace", run, "--replica", "7"}).code, 65);
  EXPECT_EQ(weft({"trace", run, "--step", "soon"}).code, 2);
  EXPECT_EQ(weft({"trace", run, "--cost", "Z=1"}).code, 2);
}

TEST(RunTrace, AKilledRunStillTellsWhatItDidLast) {
  const Place place;
  const std::string run = (place / "r").string();
  Weft child({"run", place.supervised_job(), "--dir", run, "--set", "pretrain.steps=100000"});
  ASSERT_TRUE(eventually([&] { return steps_of(run) >= 3; }));
  // While it lives, too.
  EXPECT_EQ(weft({"trace", run, "-o", (place / "live.json").string()}).code, 0);
  dualpipe::checked_trace(text_of(place / "live.json"));
  child.kill_all();
  child.wait();
  const Ended drawn = weft({"trace", run, "-o", "-"});
  ASSERT_EQ(drawn.code, 0) << drawn.err;
  const dualpipe::ChromeTrace trace = dualpipe::checked_trace(drawn.out);
  EXPECT_GE(trace.document["otherData"]["step"].get<long long>(), steps_of(run) - 1);
}

TEST(RunTrace, ARefusedRingIsAWarningAndNoMore) {
  const Place place;
  const std::string run = (place / "r").string();
  fs::create_directories(run);
  std::ofstream(fs::path(run) / "traces") << "in the way";
  const Ended ended = weft(tiny(place, run));
  EXPECT_EQ(ended.code, 0) << ended.err;
  const Ended events = weft({"events", run, "--kind", "warning", "-o", "jsonl"});
  EXPECT_NE(events.out.find("without a trace"), std::string::npos) << events.out;
  EXPECT_EQ(std::ranges::count(events.out, '\n'), 1) << "one warning for all ranks";
  EXPECT_EQ(weft({"trace", run}).code, 65);
}

}  // namespace
}  // namespace weft::test
