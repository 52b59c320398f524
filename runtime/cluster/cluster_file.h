// deploy/clusters/*.yaml <-> scheduler::Cluster. A figure is written with its unit and its source:
//   memory_bandwidth: [3.35 TB/s, data sheet]
// Everything that is wrong is said at once, at its place.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/job/diagnostics.h"
#include "scheduler/cluster/cluster.h"

namespace weft::runtime {

struct LoadedCluster {
  scheduler::Cluster cluster;  // usable only when ok()
  std::vector<Diagnostic> diagnostics;
  bool ok() const { return !has_errors(diagnostics); }
};

/// Never fails: what is wrong is in the diagnostics. `file` is the name that they carry.
LoadedCluster load_cluster_text(std::string_view text, const std::string& file);
/// As load_cluster_text; a file that cannot be read is a diagnostic too.
LoadedCluster load_cluster(const std::filesystem::path& path);

/// load_cluster_text reads it back to 6 digits a figure. `comment`: lines put above, or "".
std::string cluster_yaml(const scheduler::Cluster& cluster, const std::string& comment = "");

}  // namespace weft::runtime
