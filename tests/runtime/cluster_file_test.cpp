#include "runtime/cluster/cluster_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "scheduler/cluster/fields.h"

namespace weft::runtime {
namespace {

const std::filesystem::path kClusters = WEFT_SOURCE_DIR "/deploy/clusters";
constexpr const char* kSmall =
    "name: small\n"
    "gpu:\n"
    "  name: G\n"
    "  fp32: [10 TFLOP/s, sheet]\n"
    "  bf16: [100 TFLOP/s, sheet]\n"
    "  memory: [80 GB, sheet]\n"
    "  memory_bandwidth: [2 TB/s, sheet]\n"
    "node:\n"
    "  gpus: [8, sheet]\n"
    "  nvlink_bandwidth: [100 GB/s, sheet]\n"
    "  nic_bandwidth: [400 Gb/s, sheet]\n"
    "network:\n"
    "  nodes: [4, chosen]\n";

std::string with(const std::string& from, const std::string& to) {
  std::string text = kSmall;
  text.replace(text.find(from), from.size(), to);
  return text;
}

std::string printed(const std::string& text) {
  return print(load_cluster_text(text, "c.yaml").diagnostics, {.consequence = ""});
}

TEST(ClusterFile, EveryShippedClusterLoadsAndSaysWhereItsFiguresComeFrom) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kClusters)) {
    const LoadedCluster loaded = load_cluster(entry.path());
    EXPECT_EQ(print(loaded.diagnostics), "") << entry.path();
    EXPECT_EQ(loaded.cluster.name + ".yaml", entry.path().filename().string());
    ++files;
  }
  EXPECT_GE(files, 7);
}

TEST(ClusterFile, APrecisionsOwnFiguresAreReadBackWithTheirSources) {
  const std::string own =
      "kernels_bf16:\n  rows: [30 GB/s, measured]\n  attention_forward: [20 GFLOP/s, measured]\n"
      "kernels_fp8:\n  touch: [4 GB/s, measured]\n  overhead: [2 us, measured]\n"
      "kernels:\n  overhead: [3 us, measured]\n";
  const LoadedCluster loaded = load_cluster_text(kSmall + own, "c.yaml");
  ASSERT_TRUE(loaded.ok()) << print(loaded.diagnostics);
  const LoadedCluster again = load_cluster_text(cluster_yaml(loaded.cluster), "again");
  ASSERT_TRUE(again.ok()) << print(again.diagnostics);
  EXPECT_EQ(again.cluster.bf16, loaded.cluster.bf16);
  EXPECT_EQ(again.cluster.fp8, loaded.cluster.fp8);
  EXPECT_DOUBLE_EQ(again.cluster.bf16.rows, 30e9);
  EXPECT_DOUBLE_EQ(again.cluster.fp8.overhead, 2e-6);
  EXPECT_EQ(again.cluster.kernels.overhead, loaded.cluster.kernels.overhead);
  EXPECT_FALSE(again.cluster.bf16.softmax.given());
}

TEST(ClusterFile, ImpossibleFiguresOfAPrecisionAreSaid) {
  const std::string said =
      printed(kSmall + std::string("kernels_bf16:\n  rows: [0 GB/s, measured]\n"
                                   "kernels_fp8:\n  overhead: [-1 us, measured]\n"));
  EXPECT_NE(said.find("kernels_bf16.rows"), std::string::npos) << said;
  EXPECT_NE(said.find("kernels_fp8.overhead"), std::string::npos) << said;
}

TEST(ClusterFile, WhatIsWrittenReadsBackTheSame) {
  for (const char* name : {"h800-2048", "gb200-nvl72", "cpu-host"}) {
    const LoadedCluster loaded = load_cluster(kClusters / (std::string(name) + ".yaml"));
    const LoadedCluster again = load_cluster_text(cluster_yaml(loaded.cluster), "again");
    ASSERT_TRUE(again.ok()) << print(again.diagnostics);
    EXPECT_EQ(cluster_yaml(again.cluster), cluster_yaml(loaded.cluster));
    EXPECT_EQ(again.cluster.num_gpus(), loaded.cluster.num_gpus());
    EXPECT_DOUBLE_EQ(again.cluster.gpu.bf16, loaded.cluster.gpu.bf16);
  }
}

TEST(ClusterFile, UnitsBecomeSiNumbers) {
  const LoadedCluster loaded = load_cluster_text(kSmall, "c.yaml");
  ASSERT_TRUE(loaded.ok()) << print(loaded.diagnostics);
  EXPECT_DOUBLE_EQ(loaded.cluster.gpu.bf16, 100e12);
  EXPECT_DOUBLE_EQ(loaded.cluster.node.nic_bandwidth, 50e9);
  EXPECT_DOUBLE_EQ(loaded.cluster.gpu.memory, 80e9);
  EXPECT_EQ(loaded.cluster.num_gpus(), 32);
  EXPECT_EQ(loaded.cluster.num_leaves(), 1);
  EXPECT_EQ(loaded.cluster.gpu.bf16.source, "sheet");
}

TEST(ClusterFile, AFigureIsSaidInThreeDigitsAndWrittenInSix) {
  using scheduler::figure_text, scheduler::rounded_text, scheduler::Unit;
  EXPECT_EQ(figure_text(Unit::Bandwidth, 16.54543e9), "16.5454 GB/s");
  EXPECT_EQ(rounded_text(Unit::Bandwidth, 16.54543e9), "16.5 GB/s");
  EXPECT_EQ(rounded_text(Unit::Bandwidth, 999.6e6), "1 GB/s");
  EXPECT_EQ(rounded_text(Unit::Flops, 123.456e9), "123 GFLOP/s");
  EXPECT_EQ(rounded_text(Unit::Time, 1.23456e-6), "1.23 us");
  EXPECT_EQ(rounded_text(Unit::Time, 90061), "25 h");
  EXPECT_EQ(rounded_text(Unit::Share, 0.834512), "0.835");
  EXPECT_EQ(rounded_text(Unit::Share, 0), "0");
  EXPECT_EQ(rounded_text(Unit::Count, 2048), "2048");
  EXPECT_EQ(rounded_text(Unit::Count, 1.00634), "1.01");
}

TEST(ClusterFile, EverythingThatIsWrongIsSaidAtOnceAtItsPlace) {
  std::string text = with("80 GB", "80");
  text.replace(text.find("2 TB/s"), 6, "-2 TB/s");
  text.replace(text.find("  gpus: [8, sheet]"), 18, "  gpu: [8, sheet]");
  text.replace(text.find("[4, chosen]"), 11, "[4.5, chosen]");
  const std::string shown = printed(text);
  EXPECT_NE(shown.find("c.yaml:6:12: error: gpu.memory: '80' has no unit"), std::string::npos)
      << shown;
  EXPECT_NE(shown.find("such as 50 GB;"), std::string::npos) << shown;
  EXPECT_NE(shown.find("gpu.memory_bandwidth is -2 TB/s"), std::string::npos) << shown;
  EXPECT_NE(shown.find("unknown figure 'gpu' in 'node'"), std::string::npos) << shown;
  EXPECT_NE(shown.find("did you mean 'gpus'?"), std::string::npos) << shown;
  EXPECT_NE(shown.find("node.gpus is missing"), std::string::npos) << shown;
  EXPECT_NE(shown.find("it must be a whole number, such as 4"), std::string::npos) << shown;
}

TEST(ClusterFile, AFigureWithoutItsSourceIsRefused) {
  EXPECT_NE(printed(with("[8, sheet]", "8")).find("'node.gpus' has no source"), std::string::npos);
  EXPECT_NE(printed(with("[8, sheet]", "[8, \"\"]")).find("has no source"), std::string::npos);
}

TEST(ClusterFile, RatesOfZeroAndImpossibleTopologiesAreRefusedWithTheSmallestChange) {
  EXPECT_NE(printed(with("100 TFLOP/s", "0 TFLOP/s")).find("it must be more than 0"),
            std::string::npos);
  const std::string text =
      std::string(kSmall) + "  nodes_per_leaf: [9, chosen]\n  oversubscription: [0.5, chosen]\n";
  const std::string shown = printed(text);
  EXPECT_NE(shown.find("but there are only 4 nodes"), std::string::npos) << shown;
  EXPECT_NE(shown.find("at most 4"), std::string::npos) << shown;
  EXPECT_NE(shown.find("1 (none) or more"), std::string::npos) << shown;
  EXPECT_NE(printed(with("  nic_bandwidth: [400 Gb/s, sheet]\n", "")).find("network.nodes: 1"),
            std::string::npos);
  const std::string busy = printed(
      with("  name: G\n", "  name: G\n  sms: [10, sheet]\n  communication_sms: [12, chosen]\n"));
  EXPECT_NE(busy.find("nothing is left to compute"), std::string::npos) << busy;
  EXPECT_NE(busy.find("at most 9"), std::string::npos) << busy;
}

TEST(ClusterFile, NoBytesMakeItFall) {
  const std::string text = kSmall;
  for (std::size_t n = 0; n < text.size(); n += 3) {
    (void)load_cluster_text(text.substr(0, n), "cut");
    std::string bent = text;
    bent[n] = static_cast<char>("[]:{}\"\n\xff-"[n % 9]);
    (void)load_cluster_text(bent, "bent");
  }
}

}  // namespace
}  // namespace weft::runtime
