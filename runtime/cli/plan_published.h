// What runs of a planned model were published to have cost, beside what is predicted here.
#pragma once

#include "runtime/cli/plan_report.h"

namespace weft::cli {

/// Lines for DeepSeek-V3's shape (its pre-training, the whole of it, R1 made from it), from their
/// stated inputs and the cluster's price; none for other models, clusters without a price, and GPUs
/// other than the H800 that the figures are of.
Lines published_lines(const scheduler::Prediction& plan, const scheduler::Cluster& cluster);

}  // namespace weft::cli
