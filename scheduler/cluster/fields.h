// The one table of a cluster description's figures: reading, writing, checking and showing walk it.
#pragma once

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "scheduler/cluster/cluster.h"

namespace weft::scheduler {

enum class Unit { Count, Share, Flops, Bytes, Bandwidth, Time, Power, Money };

/// "50 GB/s" -> 50e9. Count and Share take a plain number (a share also "62 %"); everything else
/// requires its unit. Errors: InvalidArgument with "<message>\n<hint>".
Expected<double> parse_figure(Unit unit, std::string_view text);
/// As a person writes it; parse_figure reads it back to 6 digits.
std::string figure_text(Unit unit, double value);
/// For people: to 3 digits, which is what a measurement is worth; whole counts as they are.
std::string rounded_text(Unit unit, double value);

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

/// A contradiction inside a cluster, or a figure out of its range.
struct ClusterProblem {
  std::string path;  // of the field to change
  std::string message;
  std::string hint;  // the smallest change that makes it valid
};
/// Everything that is wrong, at once; empty when fine. Figures that were not given are only missed
/// where they are required.
std::vector<ClusterProblem> problems(const Cluster& cluster);

}  // namespace weft::scheduler
