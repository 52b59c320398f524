// The expert exchange: how many bytes a rank sends, and how long that takes.
#pragma once

#include "scheduler/cluster/cluster.h"
#include "scheduler/work.h"

namespace weft::scheduler {

enum class Direction { Dispatch, Combine };  // the backward of one has the other's volume

struct ExchangeCost {
  double copies = 0;   // of a token: nodes that it goes to (inside a node: ranks)
  double bytes = 0;    // that a rank sends, logical
  double seconds = 0;  // with nothing else running
};

/// Nodes of the expert group; 1 when it lies inside one NVLink domain.
int exchange_nodes(const Work& work, const Cluster& cluster);
/// Over the expert group's ranks. From the cluster's measured exchange bandwidths where it has any
/// (between two of them, by the logarithm of the ranks), else from NIC and NVLink bandwidth.
/// imbalance: bytes of the busiest rank over the mean.
ExchangeCost exchange_cost(const Work& work, const Cluster& cluster, Direction direction,
                           double imbalance);

/// Rows of the busiest rank of an expert group over the mean, in one micro-batch: expected maximum
/// over its E ranks when an expert's share varies by `variation` from sequence to sequence, and
/// rows are drawn one by one (which is all that is left with 0).
double expected_imbalance(const Work& work, double variation);

}  // namespace weft::scheduler
