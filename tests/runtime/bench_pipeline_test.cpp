// The virtual device in real processes: what is promised of structure and content. Times are looked
// at by people, on a quiet machine.
#include <gtest/gtest.h>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

TEST(BenchPipeline, PrintsPredictedAndMeasuredSideBySide) {
  const Ended ended = weft({"bench",
                            "pipeline",
                            "--kind",
                            "dualpipe",
                            "--ranks",
                            "2",
                            "--lanes",
                            "2",
                            "--micro-batches",
                            "4",
                            "--forward-ms",
                            "2",
                            "--backward-input-ms",
                            "2",
                            "--weight-ms",
                            "2",
                            "--exchange-ms",
                            "3",
                            "--layers",
                            "2",
                            "--dispatch-bytes",
                            "100K",
                            "--steps",
                            "2",
                            "-o",
                            "json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const json report = json::parse(ended.out);
  EXPECT_EQ(report["schema"], "weft.bench-pipeline/v1");
  EXPECT_EQ(report["steps"], 2);
  const json &predicted = report["predicted"], &measured = report["measured"];
  EXPECT_EQ(predicted["bubble_by_rank"].size(), 4u);
  EXPECT_EQ(measured["bubble_by_rank"].size(), 4u);
  EXPECT_EQ(measured["makespan_seconds_by_step"].size(), 2u);
  // Nothing can be faster than the lengths that it was given.
  EXPECT_GE(measured["makespan_seconds"], predicted["makespan_seconds"]);
  EXPECT_GE(report["ratio"], 1.0);
  for (const char* key : {"hidden", "hidden_in_pairs"}) {
    EXPECT_GT(predicted[key], 0.0);
    EXPECT_LE(measured[key], 1.0);
  }
}

TEST(BenchPipeline, OnSimulatedTimeMeasuresExactlyWhatWasPredicted) {
  const Ended ended = weft({"bench", "pipeline", "--kind", "zb1p", "--ranks", "8", "--steps", "1",
                            "--transport", "sim", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const json report = json::parse(ended.out);
  EXPECT_EQ(report["measured"]["makespan_seconds"], 67 * 0.020);
  EXPECT_EQ(report["ratio"], 1.0);
}

TEST(BenchPipeline, RefusesWhatCannotBe) {
  const Ended size = weft({"bench", "pipeline", "--ranks", "3"});
  EXPECT_EQ(size.code, 78);
  EXPECT_NE(size.err.find("Nearest legal"), std::string::npos) << size.err;
  const Ended bytes = weft({"bench", "pipeline", "--message-bytes", "lots"});
  EXPECT_EQ(bytes.code, 78);
  EXPECT_NE(bytes.err.find("virtual.message_bytes"), std::string::npos) << bytes.err;
  EXPECT_EQ(weft({"bench", "pipeline", "--forward-ms", "-1"}).code, 2);
}

TEST(VirtualRun, IsARunLikeAnyOtherButForItsCheckpoints) {
  const Place place;
  const std::string job = place.file("virtual.yaml",
                                     "name: v\ndevice: virtual\n"
                                     "parallel: {schedule: 1f1b, pipeline: 2, micro_batches: 4}\n"
                                     "virtual: {steps: 3, forward_ms: 1, backward_input_ms: 1, "
                                     "weight_ms: 1, reduce_ms: 1, update_ms: 1}\n");
  const std::string run = (place / "run").string();
  const Ended ended = weft({"run", job, "--dir", run});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.err.find("weft generate"), std::string::npos) << ended.err;

  const json status = json::parse(weft({"status", run, "--json"}).out);
  EXPECT_EQ(status["state"], "finished");
  EXPECT_EQ(status["step"], 3);
  EXPECT_EQ(status["stage"], "virtual");
  const std::vector<json> steps = lines_of(fs::path(run) / "metrics.jsonl");
  ASSERT_EQ(steps.size(), 3u);
  for (const json& step : steps) {
    EXPECT_EQ(step["predicted_makespan_seconds"], 0.015);  // 3 x (4 + 2 - 1) ms
    EXPECT_GE(step["makespan_seconds"], 0.015);
    EXPECT_GE(step["step_seconds"], 0.017);
    EXPECT_EQ(step["bubble_by_rank"].size(), 2u);
  }
  const std::vector<json> events = lines_of(fs::path(run) / "events.jsonl");
  EXPECT_TRUE(std::any_of(events.begin(), events.end(),
                          [](const json& event) { return event["kind"] == "started"; }));
  EXPECT_TRUE(checkpoints_of(run, false).empty());
  EXPECT_TRUE(checkpoints_of(run, true).empty());

  EXPECT_EQ(weft({"resume", run, "--set", "virtual.steps=2"}).code, 0);
  EXPECT_EQ(lines_of(fs::path(run) / "metrics.jsonl").size(), 2u) << "it begins again";
}

}  // namespace
}  // namespace weft::test
