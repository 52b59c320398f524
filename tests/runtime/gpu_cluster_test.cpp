// Descriptions of GPUs out of what a driver says: names, memory and links as drivers report them.
#include "runtime/cluster/gpu_cluster.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "runtime/cluster/cluster_file.h"
#include "scheduler/cluster/fields.h"

namespace weft::runtime {
namespace {

using scheduler::Cluster;

const std::vector<ShippedCluster>& shipped() {
  static const std::vector<ShippedCluster> all = shipped_clusters();
  return all;
}

const Cluster& shipped(const std::string& name) {
  for (const ShippedCluster& one : shipped())
    if (one.cluster.name == name) return one.cluster;
  throw std::runtime_error("no " + name);
}

std::vector<GpuDevice> gpus(int count, const std::string& name, double mebibytes,
                            std::optional<int> links) {
  std::vector<GpuDevice> all;
  for (int i = 0; i < count; ++i)
    all.push_back({.index = static_cast<unsigned>(i),
                   .name = name,
                   .memory = mebibytes * 0x1p20,
                   .less_reserved = true,
                   .power = 650,
                   .nvlinks = links});
  return all;
}

std::vector<GpuDevice> eight_h200() { return gpus(8, "NVIDIA H200", 143135, 18); }

std::vector<NicPort> ports(int count, double gigabits, const std::string& layer = "InfiniBand",
                           bool active = true) {
  return std::vector<NicPort>(static_cast<std::size_t>(count),
                              {"mlx5", "1", layer, gigabits * 1e9 / 8, active});
}

std::vector<NicPort> operator+(std::vector<NicPort> a, const std::vector<NicPort>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Cluster described(const std::vector<GpuDevice>& devices, const std::vector<NicPort>& nics = {}) {
  const auto result = describe_gpus(devices, nics, shipped());
  EXPECT_TRUE(result.has_value()) << (result ? "" : result.error().message);
  return result ? result->cluster : Cluster{};
}

std::string refusal(const std::vector<GpuDevice>& devices) {
  const auto result = describe_gpus(devices, {}, shipped());
  EXPECT_FALSE(result.has_value());
  return result ? "" : result.error().message;
}

bool says(const std::string& text, const std::string& word) {
  return text.find(word) != std::string::npos;
}

TEST(GpuCluster, EveryShippedGpuIsKnownByItsDriversName) {
  struct Known {
    const char *name, *shipped;
    int count;
    double mebibytes;
    int links;
  };
  for (const Known& known :
       {Known{"NVIDIA A100-SXM4-80GB", "a100", 8, 81920, 12},
        Known{"A100-SXM-80GB", "a100", 8, 81920, 12},
        Known{"NVIDIA H800", "h800-2048", 8, 81559, 8},
        Known{"NVIDIA H100 80GB HBM3", "h100-1024", 8, 81559, 18},
        Known{"NVIDIA H200", "h200", 8, 143771, 18}, Known{"NVIDIA B200", "b200", 8, 183359, 18},
        Known{"NVIDIA GB200", "gb200-nvl72", 4, 189471, 18}}) {
    const auto result = describe_gpus(gpus(known.count, known.name, known.mebibytes, known.links),
                                      ports(known.count, 400), shipped());
    ASSERT_TRUE(result) << result.error().message;
    const Cluster &c = result->cluster, &from = shipped(known.shipped);
    EXPECT_EQ(result->from, "deploy/clusters/" + std::string(known.shipped) + ".yaml");
    EXPECT_EQ(c.num_gpus(), known.count) << known.name;
    EXPECT_EQ(c.gpu.memory, known.mebibytes * 0x1p20);
    EXPECT_EQ(c.gpu.power, 650);
    EXPECT_EQ(c.gpu.bf16, from.gpu.bf16);
    EXPECT_EQ(c.gpu.fp8, from.gpu.fp8);
    EXPECT_EQ(c.gpu.memory_bandwidth, from.gpu.memory_bandwidth);
    EXPECT_EQ(c.kernels, from.kernels);
    EXPECT_DOUBLE_EQ(c.node.nvlink_bandwidth, from.node.nvlink_bandwidth);
    EXPECT_EQ(c.node.power, from.node.power);
    const LoadedCluster again = load_cluster_text(cluster_yaml(c), "again");
    ASSERT_TRUE(again.ok()) << print(again.diagnostics);
    EXPECT_EQ(again.cluster.num_gpus(), known.count);
    EXPECT_EQ(again.cluster.exchange, c.exchange);
  }
}

TEST(GpuCluster, EveryFigureSaysWhetherItIsThisMachinesOrPublished) {
  const Cluster c = described(eight_h200(), ports(8, 200));
  int of_this_machine = 0;
  for (const scheduler::ClusterField& field : scheduler::cluster_fields()) {
    const scheduler::Figure &figure = field.of(c), &published = field.of(shipped("h200"));
    if (!figure.given()) continue;
    const bool told = says(figure.source, "driver (NVML)") || says(figure.source, "sysfs") ||
                      figure.source == "this machine";
    EXPECT_TRUE(told || figure == published) << field.path << ": " << figure.source;
    of_this_machine += told;
  }
  EXPECT_EQ(of_this_machine, 7) << "GPUs, memory, power, NVLinks, NICs, their bandwidth, nodes";
  EXPECT_DOUBLE_EQ(c.node.nic_bandwidth, 25e9);
  EXPECT_FALSE(c.storage_write.given()) << "nothing tells it";
}

TEST(GpuCluster, AnotherFormOfAGpuIsNotTakenForTheModule) {
  for (const char* name :
       {"NVIDIA H100 PCIe", "NVIDIA H100 NVL", "NVIDIA H200 NVL", "NVIDIA A100 80GB PCIe",
        "NVIDIA A100-PCIE-40GB", "NVIDIA A100-40C", "NVIDIA H800 PCIe"}) {
    const std::string message = refusal(gpus(8, name, 81559, 0));
    EXPECT_TRUE(says(message, name)) << message;
    EXPECT_TRUE(says(message, "SXM") && says(message, "--cluster")) << message;
  }
  const std::string small = refusal(gpus(8, "NVIDIA A100-SXM4-40GB", 40960, 12));
  EXPECT_TRUE(says(small, "42.9 GB") && says(small, "84.9 GB")) << small;
  EXPECT_TRUE(says(refusal(gpus(4, "NVIDIA H100 96GB HBM3", 97871, 18)), "different GPUs"));
  EXPECT_TRUE(says(refusal(gpus(4, "NVIDIA A100-SXM-64GB", 65536, 12)), "different GPUs"));
}

TEST(GpuCluster, AnUnknownGpuIsNamedWithWhatToDo) {
  for (const char* name :
       {"NVIDIA GeForce RTX 4090", "NVIDIA H20", "NVIDIA GH200 480GB", "NVIDIA B300 SXM6 AC",
        "NVIDIA A800-SXM4-80GB", "Tesla V100-SXM2-32GB", "CPU-worker", "H10", "NVIDIA", ""}) {
    const std::string message = refusal(gpus(8, name, 81559, 18));
    EXPECT_TRUE(says(message, name)) << message;
    for (const char* word : {"H800", "GB200", "deploy/clusters", "--cpu"})
      EXPECT_TRUE(says(message, word)) << word << "\n" << message;
  }
  EXPECT_TRUE(says(refusal({}), "no GPU"));
}

TEST(GpuCluster, SeveralKindsAndSlicesAreRefused) {
  std::vector<GpuDevice> devices = eight_h200();
  devices[5].name = "NVIDIA H100 80GB HBM3";
  const std::string mixed = refusal(devices);
  EXPECT_TRUE(says(mixed, "7 x NVIDIA H200") && says(mixed, "1 x NVIDIA H100")) << mixed;
  devices = eight_h200();
  devices[3].sliced = true;
  const std::string sliced = refusal(devices);
  EXPECT_TRUE(says(sliced, "GPU 3") && says(sliced, "nvidia-smi -i 3 -mig 0")) << sliced;
}

TEST(GpuCluster, MissingLinksCostTheirShare) {
  std::vector<GpuDevice> devices = eight_h200();
  devices[2].nvlinks = 9;
  const Cluster c = described(devices), &whole = shipped("h200");
  EXPECT_DOUBLE_EQ(c.node.nvlink_bandwidth, whole.node.nvlink_bandwidth / 2);
  EXPECT_TRUE(says(c.node.nvlink_bandwidth.source, "9 of 18")) << c.node.nvlink_bandwidth.source;
  ASSERT_EQ(c.exchange.size(), 1u);
  EXPECT_DOUBLE_EQ(c.exchange[0].dispatch, whole.exchange[0].dispatch / 2);
}

TEST(GpuCluster, WithoutLinksOnlyOneGpuIsDescribed) {
  EXPECT_TRUE(says(refusal(gpus(8, "NVIDIA H200", 143135, 0)), "nvidia-fabricmanager"));
  const Cluster one = described(gpus(1, "NVIDIA H200", 143135, 0));
  EXPECT_EQ(one.num_gpus(), 1);
  EXPECT_TRUE(says(one.node.nvlink_bandwidth.source, "not used"));
  EXPECT_DOUBLE_EQ(one.node.power, shipped("h200").node.power / 8);
  const Cluster unknown = described(gpus(8, "NVIDIA H200", 143135, {}));
  EXPECT_DOUBLE_EQ(unknown.node.nvlink_bandwidth, shipped("h200").node.nvlink_bandwidth);
  EXPECT_TRUE(says(unknown.node.nvlink_bandwidth.source, "not known"));
}

TEST(GpuCluster, WhatADriverDoesNotSayIsAsPublished) {
  std::vector<GpuDevice> devices = eight_h200();
  for (GpuDevice& device : devices) device.memory = device.power = {};
  const Cluster c = described(devices);
  EXPECT_EQ(c.gpu.memory, shipped("h200").gpu.memory);
  EXPECT_EQ(c.gpu.power, shipped("h200").gpu.power);
}

TEST(GpuCluster, WhatCannotBeIsRefused) {
  std::vector<GpuDevice> devices = eight_h200();
  for (GpuDevice& device : devices) device.power = 4e6;
  EXPECT_TRUE(says(refusal(devices), "gpu.power"));
}

TEST(GpuCluster, OfDifferentGpusTheLeastCounts) {
  std::vector<GpuDevice> devices = eight_h200();
  devices[6].power = 500;
  devices[7].memory = 143000 * 0x1p20;
  const Cluster c = described(devices);
  EXPECT_EQ(c.gpu.power, 500);
  EXPECT_EQ(c.gpu.memory, 143000 * 0x1p20);
  EXPECT_TRUE(says(c.gpu.power.source, "the least of 8 GPUs")) << c.gpu.power.source;
}

TEST(GpuCluster, OnlyExchangesMeasuredInsideSuchANodeAreKept) {
  ASSERT_EQ(described(eight_h200()).exchange.size(), 1u);
  EXPECT_EQ(described(eight_h200()).exchange[0].ranks, 8);
  EXPECT_TRUE(described(gpus(4, "NVIDIA H200", 143135, 18)).exchange.empty());
  // A tray alone: its 8 ranks were inside a domain of 72 GPUs.
  EXPECT_TRUE(described(gpus(4, "NVIDIA GB200", 189471, 18)).exchange.empty());
  EXPECT_EQ(described(gpus(4, "NVIDIA GB200", 189471, 18)).nvlink_gpus(), 4);
}

TEST(Rails, AreTheFastestPortsThatShareEvenlyAmongTheGpus) {
  const auto nics = [](const std::vector<NicPort>& all) { return rails_of(all, 8).nics; };
  EXPECT_EQ(nics(ports(8, 400)), 8);
  EXPECT_EQ(nics(ports(8, 400) + ports(2, 200, "Ethernet")), 8);
  EXPECT_EQ(nics(ports(10, 400)), 8) << "two are the host's own";
  EXPECT_EQ(nics(ports(32, 100, "Ethernet")), 32) << "four a GPU";
  EXPECT_EQ(nics(ports(4, 400)), 4);
  EXPECT_EQ(nics(ports(8, 400, "InfiniBand", false) + ports(1, 100)), 1) << "down";
  const Rails rails = rails_of(ports(2, 400, "Ethernet") + ports(8, 400), 8);
  EXPECT_EQ(rails.link_layer, "InfiniBand");
  EXPECT_EQ(rails.active, 10);
  EXPECT_DOUBLE_EQ(rails.rate, 50e9);
  EXPECT_EQ(rails_of({}, 8).nics, 0);
}

TEST(GpuCluster, RoceHasItsOwnLatenciesAndWithoutNicsThereAreNone) {
  const Cluster roce = described(eight_h200(), ports(8, 200, "Ethernet"));
  EXPECT_DOUBLE_EQ(roce.node.nic_latency, 3.6e-6);
  EXPECT_TRUE(says(roce.node.nic_bandwidth.source, "200 Gb/s Ethernet"));
  const Cluster alone = described(eight_h200());
  EXPECT_FALSE(alone.node.nic_bandwidth.given());
  EXPECT_FALSE(alone.node.nic_latency.given());
  EXPECT_TRUE(load_cluster_text(cluster_yaml(alone), "alone").ok());
}

TEST(ShippedClusters, AreTheFilesOfDeployClusters) {
  EXPECT_GE(shipped().size(), 7u);
  for (const ShippedCluster& one : shipped())
    EXPECT_EQ(one.file, "deploy/clusters/" + one.cluster.name + ".yaml");
}

}  // namespace
}  // namespace weft::runtime
