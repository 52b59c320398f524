// weft cluster, in the process of the test.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/cli/options.h"
#include "runtime/cli/verbs.h"
#include "runtime/cluster/cluster_file.h"
#include "runtime/drift/drift_watch.h"
#include "tests/runtime/cli_in_process.h"
#include "tests/scratch.h"

namespace weft::cli {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const std::string kH800 = WEFT_SOURCE_DIR "/deploy/clusters/h800-2048.yaml";

TEST(CliCluster, ShowsEveryFigureWithItsSource) {
  const Result result = run({"cluster", "show", kH800});
  EXPECT_EQ(result.code, kOk) << result.err;
  EXPECT_NE(result.out.find("256 nodes x 8 H800 = 2048 GPUs"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("DeepSeek-V3 technical report"), std::string::npos);
  const json figures = json::parse(run({"cluster", "show", kH800, "-o", "json"}).out);
  EXPECT_GT(figures["items"].size(), 30u);
}

TEST(CliCluster, ShowsNoMeasurementInMoreDigitsThanItDeserves) {
  const std::string host = WEFT_SOURCE_DIR "/deploy/clusters/cpu-host.yaml";
  const json figures = json::parse(run({"cluster", "show", host, "-o", "json"}).out);
  int measured = 0;
  for (const json& item : figures["items"]) {
    if (!item["source"].get<std::string>().starts_with("measured")) continue;
    ++measured;
    const std::string text = item["text"];
    const std::string number = text.substr(0, text.find(' '));
    const auto digit = [](unsigned char c) { return std::isdigit(c) != 0; };
    const auto first = std::ranges::find_if(number, [](char c) { return c >= '1' && c <= '9'; });
    EXPECT_LE(std::count_if(first, number.end(), digit), 3) << item;
  }
  EXPECT_GT(measured, 20);
}

TEST(CliCluster, WhatCannotBeWrittenIsSaidBeforeItIsMeasured) {
  const Result result = run({"cluster", "probe", "--cpu", "-o", "/nowhere/at/all.yaml"});
  EXPECT_EQ(result.code, kBadData);
  EXPECT_NE(result.err.find("/nowhere/at"), std::string::npos) << result.err;
  EXPECT_EQ(result.err.find("memory"), std::string::npos) << result.err;
}

/// weft cluster probe on a machine whose driver and kernel say so.
struct Machine {
  test::Scratch root;
  ClusterProbeOptions options;

  explicit Machine(const char* gpus) {
    options.nvml = WEFT_FAKE_NVML_LIBRARY;
    options.infiniband = (root / "infiniband").string();
    ::setenv("WEFT_FAKE_NVML", gpus, 1);
  }

  void put_nic(const std::string& name, const std::string& rate) {
    const fs::path port = root / "infiniband" / name / "ports" / "1";
    fs::create_directories(port);
    std::ofstream(port / "rate") << rate;
    std::ofstream(port / "state") << "4: ACTIVE";
    std::ofstream(port / "link_layer") << "InfiniBand";
  }

  Result probe() {
    std::istringstream in;
    std::ostringstream out, err;
    const SystemClock clock;
    Io io{.in = in, .out = out, .err = err, .clock = clock};
    const int code = verb_cluster_probe(options, io);
    return {code, out.str(), err.str()};
  }
};

constexpr const char* kEight = "8,NVIDIA H200,143771,636,700000,18,0";

TEST(CliCluster, GpusAreDescribedWithWhereEachFigureComesFrom) {
  Machine machine(kEight);
  for (int i = 0; i < 8; ++i) machine.put_nic("mlx5_" + std::to_string(i), "400 Gb/sec (4X NDR)");
  const Result result = machine.probe();
  ASSERT_EQ(result.code, kOk) << result.err;
  for (const char* word : {"8 H200 found", "8 NICs of 50 GB/s", "Nothing is measured",
                           "deploy/clusters/h200.yaml", "no CUDA", "--cpu"})
    EXPECT_NE(result.err.find(word), std::string::npos) << word << "\n" << result.err;
  const runtime::LoadedCluster probed = runtime::load_cluster_text(result.out, "probed");
  ASSERT_TRUE(probed.ok()) << print(probed.diagnostics) << result.out;
  EXPECT_EQ(probed.cluster.num_gpus(), 8);
  EXPECT_EQ(probed.cluster.node.nics, 8);
  EXPECT_NE(probed.cluster.gpu.memory.source.find("NVML"), std::string::npos);
  EXPECT_NE(probed.cluster.node.nic_bandwidth.source.find("sysfs"), std::string::npos);
  EXPECT_NE(probed.cluster.gpu.bf16.source.find("data sheet"), std::string::npos);
}

TEST(CliCluster, AJobIsPlannedOnTheGpusThatWereFound) {
  Machine machine(kEight);
  machine.options.output = (machine.root / "this-host.yaml").string();
  machine.options.workers = 8;
  const Result result = machine.probe();
  ASSERT_EQ(result.code, kOk) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("No active InfiniBand"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("--workers"), std::string::npos) << result.err;
  const std::string v3 = WEFT_SOURCE_DIR "/deploy/jobs/v3-pretrain.yaml";
  const std::string model =
      "model.config=" WEFT_SOURCE_DIR "/deploy/models/deepseek-v3.config.json";
  const Result whole = run({"plan", v3, "--cluster", machine.options.output, "--set", model});
  EXPECT_EQ(whole.code, kNotSo) << whole.err;
  EXPECT_NE(whole.out.find("does not fit"), std::string::npos) << whole.out;
  EXPECT_NE(whole.out.find("2048"), std::string::npos) << whole.out;
  const Result small = run({"plan", WEFT_SOURCE_DIR "/deploy/jobs/r1-zero-arithmetic.yaml",
                            "--cluster", machine.options.output});
  EXPECT_EQ(small.code, kOk) << small.err;
  for (const char* word : {"nan", "inf ", " 0.000", "e+"})
    EXPECT_EQ(small.out.find(word), std::string::npos) << word << "\n" << small.out;
}

TEST(CliCluster, WhatCannotBeDescribedIsRefusedWithTheWayOut) {
  for (const char* gpus : {"fail 9", "2,NVIDIA GeForce RTX 4090,24564,0,450000,0,0",
                           "8,NVIDIA H200,143771,636,700000,0,0"}) {
    Machine machine(gpus);
    const Result result = machine.probe();
    EXPECT_EQ(result.code, exit_code(Code::Unsupported)) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find("--cpu"), std::string::npos) << result.err;
  }
}

TEST(CliCluster, GpusAreNotPutWhereRunsOfTheProcessorLook) {
  Machine machine(kEight);
  ::setenv("XDG_CONFIG_HOME", machine.root.path().c_str(), 1);
  machine.options.output = runtime::kept_cluster().string();
  const Result result = machine.probe();
  ::unsetenv("XDG_CONFIG_HOME");
  EXPECT_EQ(result.code, exit_code(Code::InvalidArgument)) << result.err;
  EXPECT_NE(result.err.find("--cpu"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(machine.options.output));
}

TEST(CliCluster, WithoutGpusTheProcessorIsMeasuredIntoADescription) {
  const Machine machine("");
  ::setenv("WEFT_NVML_LIBRARY", WEFT_FAKE_NVML_LIBRARY, 1);
  const Result result = run({"cluster", "probe", "--seconds", "0.01", "--workers", "2"});
  ::unsetenv("WEFT_NVML_LIBRARY");
  ASSERT_EQ(result.code, kOk) << result.err;
  EXPECT_NE(result.err.find("No NVIDIA GPU was found"), std::string::npos) << result.err;
  const runtime::LoadedCluster cluster = runtime::load_cluster_text(result.out, "probed");
  ASSERT_TRUE(cluster.ok()) << print(cluster.diagnostics);
  EXPECT_EQ(cluster.cluster.gpu.name, "CPU-worker");
  EXPECT_EQ(cluster.cluster.num_gpus(), 2);
  EXPECT_GT(cluster.cluster.gpu.fp32, 0);
}

TEST(CliCluster, WithGpusTheProcessorIsMeasuredWhenAskedFor) {
  Machine machine(kEight);
  machine.options.cpu = true;
  machine.options.seconds = 0.01;
  // Nothing can be written there, so measuring ends at the disk: whole it takes long.
  ::setenv("TMPDIR", "/proc", 1);
  const Result result = machine.probe();
  ::unsetenv("TMPDIR");
  EXPECT_NE(result.code, kOk);
  EXPECT_NE(result.err.find("memory "), std::string::npos) << result.err;
  EXPECT_EQ(result.err.find("H200"), std::string::npos) << result.err;
  EXPECT_EQ(run({"cluster", "probe", "--gpu"}).code, kUsage);
}

}  // namespace
}  // namespace weft::cli
