// A cluster as planning sees it: GPUs, nodes, network, storage, power, money and failures. A plain
// value in SI units (FLOP/s, bytes, bytes/s, seconds, watts, US dollars); every figure carries
// where it comes from. Reading YAML is runtime/cluster's work, measuring a machine that of weft
// cluster probe.
#pragma once

#include <string>
#include <vector>

namespace weft::scheduler {

/// A number and where it comes from. An empty source: it was not given, and `value` is the default.
struct Figure {
  double value = 0;
  std::string source = {};
  operator double() const { return value; }  // NOLINT: it is that number
  bool given() const { return !source.empty(); }
  friend bool operator==(const Figure&, const Figure&) = default;
};

/// One device. For a CPU cluster: one worker with its cores.
struct GpuType {
  std::string name;
  Figure fp32, bf16, fp8;    // peak FLOP/s of dense matrix products; fp8 0: it has none
  Figure memory;             // bytes
  Figure memory_bandwidth;   // bytes/s
  Figure sms;                // streaming multiprocessors; 0: no such division (CPU)
  Figure communication_sms;  // of them taken by the expert exchange while it overlaps compute
  Figure power;              // W under training load
  friend bool operator==(const GpuType&, const GpuType&) = default;
};

/// What kernels reach, as a share of the peak (from published measurements), and what each costs
/// beside its work.
struct KernelRates {
  Figure gemm_fp32{1}, gemm_bf16{1}, gemm_fp8{1};                          // dense layers' products
  Figure grouped_gemm_fp32{1}, grouped_gemm_bf16{1}, grouped_gemm_fp8{1};  // experts' products
  Figure attention_forward{1}, attention_backward{1};  // share of the bf16 (fp32) peak
  Figure memory{1};                                    // share of memory_bandwidth
  Figure collective{1};                                // share of NIC bandwidth, by reductions
  Figure weights;   // bytes/s (4 a parameter) at which a product goes through its matrix beside its
                    // FLOPs; 0: that takes no time. Large where rows are few
  Figure softmax;   // bytes/s of the head's forward over its logits; 0: that of other rows
  Figure overhead;  // seconds that each compute phase takes beside its work
  Figure update;    // bytes/s of the optimizer; 0: row-wise kernels' rate
  Figure touch;     // bytes/s (4 a parameter) at which a rank clears its gradients and packs its
                    // weights again, once a step; 0: neither takes time
  Figure exchange;  // seconds of a rank's own time in each exchange beside its bytes (CPU)
  Figure step;      // seconds of a rank's own time in each step beside everything else (CPU)
  friend bool operator==(const KernelRates&, const KernelRates&) = default;
};

/// What the kernels of a narrower precision reach on a CPU host beside their products, whose rates
/// are shares of that precision's peak as everybody's (KernelRates). What is not given is taken as
/// KernelRates has it, which on such a host is F32's.
struct NarrowRates {
  Figure attention_forward, attention_backward;  // FLOP/s
  Figure rows;      // bytes/s of row-wise kernels, conversions between precisions included
  Figure weights;   // bytes/s (4 a parameter), as KernelRates::weights
  Figure softmax;   // bytes/s of the head's forward over its logits
  Figure overhead;  // seconds that each compute phase takes beside its work
  Figure touch;     // bytes/s (4 a parameter): gradients cleared, weights converted and packed
  friend bool operator==(const NarrowRates&, const NarrowRates&) = default;
};

/// Measured bandwidth of the expert exchange over so many ranks: logical bytes a rank sends to
/// other nodes (inside one node: to other ranks), per second, with nothing else running.
struct ExchangeRate {
  int ranks = 0;
  Figure dispatch, combine;  // bytes/s
  friend bool operator==(const ExchangeRate&, const ExchangeRate&) = default;
};

struct NodeType {
  Figure gpus{1};
  Figure nvlink_bandwidth;    // bytes/s a GPU and direction, effective
  Figure nvlink_latency;      // seconds
  Figure nvlink_nodes{1};     // nodes that one NVLink domain spans (18 trays of a GB200 NVL72)
  Figure nics{1};             // a node; the same number as GPUs: one rail each
  Figure nic_bandwidth;       // bytes/s a NIC and direction
  Figure nic_latency;         // seconds, under one leaf switch
  Figure nic_latency_across;  // seconds, across leaves
  Figure cores;               // that the workers of a CPU node share; 0: each device has its own
  Figure crowding{1};     // compute of CPU workers takes so many times as long when no core is idle
  Figure wakeup{0};       // seconds until a worker goes on that waited for its neighbour's message
  Figure idle_wakeup{0};  // the same where its core is its own
  Figure handover{0};     // seconds of an exchange beside its own where workers share cores
  Figure spread;          // of its steps: one run beside the same run again, standard deviation
  Figure host_bandwidth;  // bytes/s a GPU to its host's memory, for checkpoints; 0: unknown
  Figure power;           // W of everything but the GPUs
  friend bool operator==(const NodeType&, const NodeType&) = default;
};

struct Cluster {
  std::string name;
  GpuType gpu;
  KernelRates kernels;
  NarrowRates bf16, fp8;
  std::vector<ExchangeRate> exchange;  // ascending ranks; empty: from the bandwidths alone
  NodeType node;
  Figure nodes{1};                     // healthy ones that a job may use, spares included
  Figure nodes_per_leaf;               // 0: all under one leaf
  Figure oversubscription{1};          // leaf uplinks: 2 = half the bandwidth towards the spine
  Figure storage_write, storage_read;  // bytes/s of the whole cluster
  Figure gpu_hour;                     // US dollars
  Figure node_mtbf;  // seconds between failures of one node that stop the job; 0: never
  Figure restart;    // seconds from a failure to the first new step, lost steps apart

  int num_nodes() const { return static_cast<int>(nodes.value); }
  int gpus_per_node() const { return static_cast<int>(node.gpus.value); }
  int num_gpus() const { return num_nodes() * gpus_per_node(); }
  int leaf_nodes() const;  // nodes under one leaf
  int num_leaves() const;
  int leaf_of(int node_index) const { return node_index / leaf_nodes(); }
  /// GPUs that reach each other by NVLink.
  int nvlink_gpus() const { return gpus_per_node() * static_cast<int>(node.nvlink_nodes.value); }
  friend bool operator==(const Cluster&, const Cluster&) = default;
};

}  // namespace weft::scheduler
