// Is this node fit to take part? Measured once before an agent joins, so that a full disk or a
// broken node is named before it costs a generation.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/expected.h"

namespace weft::runtime {

struct NodeCheck {
  std::string name;  // "disk", "write", "memory", "loopback", "gpu"
  bool good = false;
  double value = 0;  // bytes, or bytes/s
  std::string text;  // what was found, for people
};

struct NodeCheckOptions {
  std::filesystem::path run;                           // where it must be able to write
  double min_disk_bytes = 64.0 * (1 << 20);            // free there
  double min_memory_bytes = 64.0 * (1 << 20);          // available
  double min_loopback_bytes_per_second = 50e6;         // of one TCP connection to itself
  std::size_t loopback_bytes = std::size_t{16} << 20;  // sent for it
};

/// Every check, in a fixed order; takes some hundredths of a second. GPUs only when weft was built
/// with CUDA.
std::vector<NodeCheck> check_node(const NodeCheckOptions& options, const Clock& clock);

/// The first that failed as an error with what to do; good when none did.
Expected<void> verdict(const std::vector<NodeCheck>& checks);

}  // namespace weft::runtime
