// From phases of small steps to the rates of the kernels in them.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "runtime/cluster/probe_world.h"
#include "scheduler/cluster/cluster.h"

namespace weft::runtime {

/// Least squares of the phases' times over products, attention, row-wise bytes, weights, logits and
/// a constant. F32: fills KernelRates. A narrower precision: its products' share of its own peak,
/// and its own figures for the rest; FP8 after BF16, in which its head computes. Peaks are known
/// already, and raised where phases are faster. `talk`: one line.
void set_rates(std::span<const ProbeRun> runs, scheduler::Precision precision,
               scheduler::Cluster& cluster, const std::function<void(const std::string&)>& talk);

}  // namespace weft::runtime
