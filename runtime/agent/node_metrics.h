// A node's metrics for Prometheus: what its agent knows and what the kernel says of the machine, as
// text over HTTP. Nothing of the run waits for whoever asks.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/expected.h"
#include "runtime/coordinator/agent.h"

namespace weft::runtime {

/// What the agent knows, at one instant.
struct NodeFigures {
  std::string node;
  std::int64_t term = 0, generation = 0;
  std::int64_t unacknowledged = 0;    // records in the spool that no coordinator has
  std::vector<WorkerStatus> workers;  // of the generation
};
NodeFigures figures_of(const AgentState& state);

/// What the kernel says; -1: it does not.
struct NodeReadings {
  double cpu_busy_seconds = -1, cpu_idle_seconds = -1;  // since the machine started, all cores
  double memory_bytes = -1, memory_available_bytes = -1;
  double disk_bytes = -1, disk_free_bytes = -1;  // of the file system of the run directory
  int gpus = 0;                                  // NVIDIA devices that the driver shows
};
NodeReadings read_node(const std::filesystem::path& run_directory);

/// Prometheus text format 0.0.4.
std::string to_prometheus(const NodeFigures& figures, const NodeReadings& readings);

/// Serves GET /metrics from a thread of its own, to a few at a time; a request has 8 KiB and 5 s.
/// Threads: set() from any.
class NodeMetrics {
 public:
  /// `where`: "HOST:PORT", or "PORT" on loopback; port 0: any free one. Errors: InvalidArgument for
  /// what is no such place, Busy when the port is taken.
  static Expected<std::unique_ptr<NodeMetrics>> serve(const std::string& where,
                                                      std::filesystem::path run_directory);
  ~NodeMetrics();

  std::string address() const;  // "HOST:PORT"
  void set(NodeFigures figures);

 private:
  struct Impl;
  explicit NodeMetrics(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace weft::runtime
