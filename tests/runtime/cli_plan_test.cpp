// weft plan, in the process of the test.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/runtime/cli_in_process.h"

namespace weft::cli {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const std::string kV3 = WEFT_SOURCE_DIR "/deploy/jobs/v3-pretrain.yaml";
const std::string kModel = "model.config=" WEFT_SOURCE_DIR "/deploy/models/deepseek-v3.config.json";
const std::string kH800 = WEFT_SOURCE_DIR "/deploy/clusters/h800-2048.yaml";

std::vector<std::string> plan(std::vector<std::string> more) {
  std::vector<std::string> args = {"plan", kV3, "--cluster", kH800, "--set", kModel};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

TEST(CliPlan, SaysWhetherItFitsWhatItTakesAndWhatThatRestsOn) {
  const Result result = run(plan({}));
  EXPECT_EQ(result.code, kOk) << result.err;
  EXPECT_EQ(result.err, "");
  for (const char* word :
       {"v3-pretrain on h800-2048", "verdict", "fits", "free of deadlock", "fullest rank", "bubble",
        "tokens/s", "causal", "GPU-hours", "MWh", "90 %", "why schedule", "dualpipe;",
        "calibrated on published kernel times", "predicted, no constant solved for", "assumed:"})
    EXPECT_NE(result.out.find(word), std::string::npos) << word << "\n" << result.out;
}

TEST(CliPlan, APlanIsAFileThatCanBePlannedAgain) {
  const Result result = run(plan({"-o", "json"}));
  ASSERT_EQ(result.code, kOk) << result.err;
  const json first = json::parse(result.out);
  EXPECT_EQ(first["schema"], "weft.plan/v1");
  const fs::path file =
      fs::temp_directory_path() / ("plan-" + std::to_string(::getpid()) + ".json");
  std::ofstream(file) << result.out;
  const json again = json::parse(run({"plan", file.string(), "-o", "json"}).out);
  EXPECT_EQ(again["step"], first["step"]);
  const Result other =
      run({"plan", file.string(), "--what-if", "nodes=-2,expert=32,checkpoint=5m", "-o", "json"});
  EXPECT_NE(other.err.find("data: 128 -> 96"), std::string::npos) << other.err;
  const json changed = json::parse(other.out);
  EXPECT_GT(changed["step"]["total"], first["step"]["total"]);
  EXPECT_EQ(changed["what_if"], "nodes=-2,expert=32,checkpoint=5m");
  fs::remove(file);
}

TEST(CliPlan, WhatDoesNotFitIsNotSoWithTheChangeThatHelps) {
  const Result result = run(plan({"--what-if", "gpu.memory=60GB"}));
  EXPECT_EQ(result.code, kNotSo);
  EXPECT_NE(result.out.find("does not fit"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("H800 has 60 GB"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("would fit"), std::string::npos) << result.out;
}

TEST(CliPlan, BadInputNamesTheFileTheFigureAndTheWayOut) {
  EXPECT_EQ(run({"plan", kV3, "--set", kModel}).code, kUsage);
  EXPECT_NE(run({"plan", kV3, "--set", kModel}).err.find("--cluster FILE"), std::string::npos);
  const Result missing = run({"plan", kV3, "--cluster", "nowhere.yaml", "--set", kModel});
  EXPECT_EQ(missing.code, kConfiguration);
  EXPECT_NE(missing.err.find("nowhere.yaml"), std::string::npos);
  const Result wrong = run(plan({"--what-if", "node=3"}));
  EXPECT_EQ(wrong.code, kConfiguration);
  EXPECT_NE(wrong.err.find("did you mean 'nodes'?"), std::string::npos) << wrong.err;
  const Result job =
      run({"plan", kV3, "--cluster", kH800, "--set", kModel, "--set", "parallel.pipeline=15"});
  EXPECT_EQ(job.code, kConfiguration);
  EXPECT_NE(job.err.find("nothing was planned"), std::string::npos) << job.err;
  EXPECT_EQ(run({"plan", WEFT_SOURCE_DIR "/deploy/models/deepseek-v3.config.json"}).code, kBadData);
}

/// A run directory that says how far it is.
fs::path run_at(const std::string& stage, int step) {
  const fs::path root = fs::temp_directory_path() / ("planned-" + std::to_string(::getpid()));
  fs::create_directories(root);
  fs::copy_file(WEFT_SOURCE_DIR "/deploy/jobs/r1-zero-arithmetic.yaml",
                root / "config.resolved.yaml", fs::copy_options::overwrite_existing);
  json state = {{"name", "r1"}, {"state", "stopped"}, {"step", step}};
  if (!stage.empty())
    state["last_metrics"] = {{"stage", stage}, {"stage_step", step}, {"step_seconds", 9.0}};
  std::ofstream(root / "run.json") << state.dump();
  return root;
}

TEST(CliPlan, OfARunOnlyWhatIsLeftIsPaidForAndItSaysHowFarItIs) {
  const std::string cpu = WEFT_SOURCE_DIR "/deploy/clusters/cpu-host.yaml";
  const auto planned = [&](const fs::path& root, const std::string& what_if = "checkpoint=5m") {
    return run({"plan", root.string(), "--cluster", cpu, "--what-if", what_if});
  };
  const json whole =
      json::parse(run({"plan", run_at("", 0).string(), "--cluster", cpu, "-o", "json"}).out);
  const double steps = whole["run"]["steps"];
  EXPECT_EQ(whole["so_far"]["planned_steps_done"], 0);

  const fs::path root = run_at("pretrain", 100);
  const json left = json::parse(run({"plan", root.string(), "--cluster", cpu, "-o", "json"}).out);
  EXPECT_DOUBLE_EQ(left["run"]["steps"], steps - 100);
  EXPECT_LT(left["run"]["seconds"], whole["run"]["seconds"]);
  const Result lines = planned(root);
  for (const char* part : {"stopped, step 100 of pretrain, which took 9.00 s", "predicted",
                           "weft plan --calibrate", "more steps"})
    EXPECT_NE(lines.out.find(part), std::string::npos) << part << "\n" << lines.out;
  // The job's own way of counting: all steps of the stage.
  EXPECT_NE(planned(root, "steps=150").out.find("50.0 more steps"), std::string::npos)
      << planned(root, "steps=150").out;
  EXPECT_NE(planned(root, "steps=100").err.find("100 are done already"), std::string::npos);

  const Result past = planned(run_at("grpo", 3));
  EXPECT_NE(past.out.find("pretrain is done"), std::string::npos) << past.out;
  EXPECT_EQ(past.out.find("finished  "), std::string::npos) << past.out;
  fs::remove_all(root);
}

TEST(CliPlan, AnAlternativeIsToldInMoneyToo) {
  const Result result = run(plan({}));
  EXPECT_NE(result.out.find(" slower, $"), std::string::npos) << result.out;
}

TEST(CliPlan, AnImpossibleWhatIfIsSaidWholeWithTheLayoutThatWouldFit) {
  const Result result = run(plan({"--what-if", "pp=15,ep=48"}));
  EXPECT_EQ(result.code, kConfiguration);
  for (const char* part : {"must divide parallel.data = 128", "does not divide the model's 256",
                           "ranks must be even", "--what-if 'pipeline=16,expert=64'"})
    EXPECT_NE(result.err.find(part), std::string::npos) << part << "\n" << result.err;
  const Result words = run(plan({"--what-if", "nodez=3,gpu.memory=96,schedule=foo"}));
  EXPECT_EQ(words.code, kConfiguration);
  for (const char* part : {"did you mean 'nodes'?", "'96' has no unit", "called 'foo'. Known are"})
    EXPECT_NE(words.err.find(part), std::string::npos) << part << "\n" << words.err;
}

TEST(CliPlan, WhereNoTimeCanBePredictedThereIsNoNumber) {
  const std::vector<std::string> args = {
      "plan", kV3, "--cluster", WEFT_SOURCE_DIR "/deploy/clusters/cpu-host.yaml", "--set", kModel};
  const Result result = run(args);
  EXPECT_EQ(result.code, kNotSo);
  EXPECT_NE(result.out.find("no time is predicted"), std::string::npos) << result.out;
  for (const char* word : {"nan", "inf ", "step  "})
    EXPECT_EQ(result.out.find(word), std::string::npos) << word << "\n" << result.out;
}

TEST(CliPlan, EveryShippedClusterPlansAShippedJobInFiguresThatMeanSomething) {
  for (const auto& entry : fs::directory_iterator(WEFT_SOURCE_DIR "/deploy/clusters")) {
    const Result result = run({"plan", WEFT_SOURCE_DIR "/deploy/jobs/r1-zero-arithmetic.yaml",
                               "--cluster", entry.path().string()});
    EXPECT_EQ(result.code, kOk) << entry.path() << result.err;
    for (const char* word : {"nan", "inf ", " 0.000", "e+", "1 nodes"})
      EXPECT_EQ(result.out.find(word), std::string::npos) << word << "\n" << result.out;
    EXPECT_NE(result.out.find("pretrain alone"), std::string::npos) << result.out;
    const bool host = entry.path().filename() == "cpu-host.yaml";
    EXPECT_EQ(result.out.find(" a GPU") == std::string::npos, host) << result.out;
  }
}

TEST(CliPlan, OnACpuHostBuffersAndTheCacheOfRolloutAreInTheVerdict) {
  const std::vector<std::string> args = {
      "plan", WEFT_SOURCE_DIR "/deploy/jobs/r1-zero-arithmetic.yaml", "--cluster",
      WEFT_SOURCE_DIR "/deploy/clusters/cpu-host.yaml"};
  const std::string text = run(args).out;
  for (const char* part : {", KV cache of rollout ", "; of the weights packed copies ",
                           "; of the buffers expert exchange ", "rings between ranks",
                           "sequences at once, counted in the memory"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  std::vector<std::string> with_json = args;
  with_json.insert(with_json.end(), {"-o", "json"});
  const json plan = json::parse(run(with_json).out);
  for (const json& rank : plan["memory"]) {
    const auto bytes = [&](const char* part) { return rank[part].get<double>(); };
    for (const char* part : {"packed", "exchange", "transport", "collectives", "kv_cache"})
      EXPECT_GT(bytes(part), 0) << part;
    EXPECT_EQ(bytes("messages"), 0) << "they lie in the activations";
    EXPECT_NEAR(bytes("buffers"), bytes("exchange") + bytes("transport") + bytes("collectives"), 1);
    double sum = 0;
    for (const char* part : {"weights", "gradients", "masters", "moments", "received", "packed",
                             "activations", "buffers", "kv_cache", "replicas", "packed_replicas"})
      sum += bytes(part);
    EXPECT_NEAR(bytes("total"), sum, 1);
  }
}

TEST(CliPlan, WhatNobodyWouldWaitForHasNoDate) {
  const Result result = run(plan({"--what-if", "failures.node_mtbf=1s"}));
  EXPECT_NE(result.out.find("years"), std::string::npos) << result.out;
  for (const char* word : {"2121-", "0 d to "})
    EXPECT_EQ(result.out.find(word), std::string::npos) << word << "\n" << result.out;
}

TEST(CliPlan, SparesAreSaidToBeLeftOutOfTheCost) {
  EXPECT_EQ(run(plan({})).out.find("not counted"), std::string::npos);
  const Result result = run(plan({"--what-if", "nodes=+2"}));
  EXPECT_NE(result.out.find("2 spare nodes not counted"), std::string::npos) << result.out;
}

TEST(CliPlan, AFigureBeyondAllNumbersIsRefusedWithTheMostThereMayBe) {
  const Result result = run(plan({"--what-if", "gpu.memory=1e300GB"}));
  EXPECT_EQ(result.code, kConfiguration);
  EXPECT_NE(result.err.find("at most 1000 TB"), std::string::npos) << result.err;
}

TEST(CliPlan, AJobForAClusterIsNotStartedHere) {
  const Result result = run({"check", kV3, "--set", kModel});
  EXPECT_EQ(result.code, kConfiguration);
  EXPECT_NE(result.err.find("= 2048 worker processes"), std::string::npos) << result.err;
}

TEST(CliPlan, ASlipOfTheUnitIsAskedAbout) {
  const Result slip = run(plan({"--what-if", "gpu.memory=80B,gpu.bf16=1e-3FLOP/s"}));
  EXPECT_EQ(slip.code, kConfiguration);
  EXPECT_NE(slip.err.find("is the unit right?"), std::string::npos) << slip.err;
}

}  // namespace
}  // namespace weft::cli
