// A description of this machine's GPUs, out of what its driver and kernel say and of a shipped
// description of the same GPU. Pure; nothing is measured.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/expected.h"
#include "runtime/cluster/gpu_devices.h"
#include "runtime/cluster/nic_ports.h"
#include "runtime/cluster/shipped_clusters.h"
#include "scheduler/cluster/cluster.h"

namespace weft::runtime {

/// Part of the source of each figure that is the driver's.
inline constexpr const char* kFromDriver = "driver (NVML)";

struct GpuCluster {
  scheduler::Cluster cluster;  // one node, named this-host
  std::string from;            // the shipped file that its rates are of
};

/// One node of `devices`: their number, memory, power limit, NVLinks and the NICs beside them are
/// this machine's (the least of its GPUs where they differ); rates, what kernels reach of them,
/// latencies, price and failures are the shipped description's, with its sources. Exchange rates
/// are those that were measured inside a node; storage is left out, for nothing tells it.
/// Errors: Unsupported, for GPUs that no shipped description is of: another kind or form (PCIe),
/// several kinds, slices, several without NVLink, or figures that cannot be; with what to do.
Expected<GpuCluster> describe_gpus(std::span<const GpuDevice> devices,
                                   std::span<const NicPort> ports,
                                   std::span<const ShippedCluster> shipped);

/// What joins a node of so many GPUs to others.
struct Rails {
  int nics = 0;            // 0: nothing does
  int active = 0;          // ports that are up, others' included
  double rate = 0;         // bytes/s a NIC and direction
  std::string link_layer;  // of all of them
};

/// Those of the fastest active ports; of several link layers at that rate the more frequent one.
/// Where there are more than GPUs, as many as share evenly among them: what is left is a host's own
/// (storage).
Rails rails_of(std::span<const NicPort> ports, int gpus);

}  // namespace weft::runtime
