#include "runtime/cluster/gpu_cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "runtime/cluster/gpu_kind.h"
#include "scheduler/cluster/problems.h"

namespace weft::runtime {
namespace {

using scheduler::Cluster;
using scheduler::Figure;

/// The least that any of the GPUs has of it, and " ..." when they differ; nothing when one of them
/// does not say. The slowest holds all others up, and the fullest decides whether a job fits.
template <class Member>
std::optional<Figure> least(std::span<const GpuDevice> devices, Member member,
                            const std::string& source) {
  double low = 0, high = 0;
  for (const GpuDevice& device : devices) {
    const auto& value = device.*member;
    if (!value) return {};
    const double now = static_cast<double>(*value);
    const bool first = &device == &devices.front();
    low = first ? now : std::min(low, now);
    high = first ? now : std::max(high, now);
  }
  return Figure{
      low, low == high ? source : source + fmt::format(", the least of {} GPUs", devices.size())};
}

void put_gpu(std::span<const GpuDevice> devices, Cluster& to) {
  const bool less = std::ranges::all_of(devices, &GpuDevice::less_reserved);
  if (auto memory = least(devices, &GpuDevice::memory,
                          std::string(kFromDriver) + (less ? ": total less what it reserves" : "")))
    to.gpu.memory = *memory;
  if (auto power =
          least(devices, &GpuDevice::power, std::string(kFromDriver) + ": the enforced limit"))
    to.gpu.power = *power;
}

/// The share of a whole GPU's NVLinks that is active.
Expected<double> put_links(std::span<const GpuDevice> devices, Cluster& to) {
  Figure& bandwidth = to.node.nvlink_bandwidth;
  const auto active = least(devices, &GpuDevice::nvlinks, kFromDriver);
  if (devices.size() == 1 || !active) {
    bandwidth.source =
        (active ? "not used by one GPU; " : "active NVLinks not known; ") + bandwidth.source;
    return 1.0;
  }
  if (*active == 0)
    return fail(Code::Unsupported,
                fmt::format("{} x {} and no active NVLink, over which they should exchange: see "
                            "nvidia-smi nvlink --status, and whether nvidia-fabricmanager runs; "
                            "--cpu measures the processor instead",
                            devices.size(), devices.front().name));
  const int whole = nvlinks_of(to.gpu.name);
  const double share = whole > 0 ? std::min(1.0, *active / whole) : 1;
  bandwidth.value *= share;
  bandwidth.source = (share < 1 ? fmt::format("{:.0f} of {} NVLinks active, ", active->value, whole)
                                : fmt::format("{:.0f} NVLinks active, ", active->value)) +
                     active->source + "; " + bandwidth.source;
  return share;
}

/// Only what was measured inside a node, where this one is as large; with its share of the links.
void put_exchange(int domain, double share, Cluster& to) {
  const int gpus = to.gpus_per_node();
  std::erase_if(to.exchange, [&](const scheduler::ExchangeRate& rate) {
    return rate.ranks > std::min(gpus, domain);
  });
  if (share == 1) return;
  for (scheduler::ExchangeRate& rate : to.exchange)
    for (Figure* figure : {&rate.dispatch, &rate.combine}) {
      figure->value *= share;
      figure->source += "; as many of it as NVLinks are active";
    }
}

void put_rails(const Rails& rails, Cluster& to) {
  scheduler::NodeType& node = to.node;
  if (rails.nics == 0) {
    node.nics = Figure{1};
    node.nic_bandwidth = node.nic_latency = node.nic_latency_across = {};
    return;
  }
  const std::string used = rails.nics == rails.active
                               ? fmt::format("sysfs: {} active ports", rails.nics)
                               : fmt::format(
                                     "sysfs: the fastest of {} active ports that share "
                                     "evenly among the GPUs",
                                     rails.active);
  node.nics = {static_cast<double>(rails.nics), used};
  node.nic_bandwidth = {rails.rate,
                        fmt::format("sysfs: {:.6g} Gb/s {}", rails.rate * 8e-9, rails.link_layer)};
  if (rails.link_layer == "InfiniBand") return;  // as the shipped figures
  node.nic_latency = {3.6e-6, "ISCA 2025 paper, RoCE, 64 B"};
  node.nic_latency_across = {5.6e-6, "ISCA 2025 paper, RoCE, 64 B"};
}

/// Everything of a node but its GPUs: this one's share, where it has fewer than the shipped one.
void put_node_power(double shipped_gpus, Cluster& to) {
  Figure& power = to.node.power;
  if (!power.given() || to.node.gpus == shipped_gpus) return;
  power.value *= to.node.gpus / shipped_gpus;
  power.source +=
      fmt::format("; as much of it as {:.0f} of {:.0f} GPUs", to.node.gpus.value, shipped_gpus);
}

}  // namespace

Rails rails_of(std::span<const NicPort> ports, int gpus) {
  Rails out;
  std::map<std::string, int> layers;  // of the fastest
  for (const NicPort& port : ports) {
    if (!port.active) continue;
    ++out.active;
    if (port.rate > out.rate) layers.clear();
    out.rate = std::max(out.rate, port.rate);
    if (port.rate == out.rate) ++layers[port.link_layer];
  }
  for (const auto& [layer, count] : layers)
    if (count > out.nics || (count == out.nics && layer == "InfiniBand")) {
      out.nics = count;
      out.link_layer = layer;
    }
  if (gpus > 0 && out.nics > gpus) out.nics -= out.nics % gpus;
  return out;
}

Expected<GpuCluster> describe_gpus(std::span<const GpuDevice> devices,
                                   std::span<const NicPort> ports,
                                   std::span<const ShippedCluster> shipped) {
  if (devices.empty())
    return fail(Code::NotFound, "there is no GPU to describe; --cpu measures the processor");
  WEFT_TRY_ASSIGN(const ShippedCluster* const known, shipped_kind(devices, shipped));
  GpuCluster out{known->cluster, known->file};
  Cluster& c = out.cluster;
  c.name = "this-host";
  c.node.gpus = {static_cast<double>(devices.size()), kFromDriver};
  c.nodes = {1, "this machine"};
  c.node.nvlink_nodes = Figure{1};
  c.nodes_per_leaf = {};
  c.oversubscription = Figure{1};
  c.storage_write = c.storage_read = {};
  put_gpu(devices, c);
  WEFT_TRY_ASSIGN(const double share, put_links(devices, c));
  put_exchange(known->cluster.nvlink_gpus(), share, c);
  put_rails(rails_of(ports, c.gpus_per_node()), c);
  put_node_power(known->cluster.node.gpus, c);
  if (const auto wrong = scheduler::problems(c); !wrong.empty())
    return fail(Code::Unsupported, "what driver and kernel say cannot be: " +
                                       wrong.front().message + "; --cpu measures the processor");
  return out;
}

}  // namespace weft::runtime
