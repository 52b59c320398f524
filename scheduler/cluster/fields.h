// The one table of a cluster description's figures: reading, writing, checking and showing walk it.
#pragma once

#include <limits>
#include <span>
#include <string_view>

#include "scheduler/cluster/cluster.h"
#include "scheduler/cluster/figure_text.h"

namespace weft::scheduler {

/// Nodes of a cluster, and GPUs, at most.
inline constexpr double kClusterSizeMax = 1e6;

struct ClusterField {
  std::string_view path;  // "gpu.bf16"
  Unit unit = Unit::Count;
  Figure& (*slot)(Cluster&) = nullptr;
  bool required = true;
  bool zero = false;  // 0 is allowed
  double max = std::numeric_limits<double>::infinity();
  std::string_view help;
  const Figure& of(const Cluster& cluster) const { return slot(const_cast<Cluster&>(cluster)); }
};

/// All figures but those of `exchange`, in the order in which a person reads them.
std::span<const ClusterField> cluster_fields();
const ClusterField* find_cluster_field(std::string_view path);

}  // namespace weft::scheduler
