// What to change so that a job fits its cluster.
#pragma once

#include <string>
#include <vector>

#include "scheduler/plan/plan.h"
#include "scheduler/plan/what_if.h"

namespace weft::scheduler {

/// A change that was tried: with it the job fits.
struct Proposal {
  std::string what_if;  // for --what-if: "data=64,micro_batches=240"
  double step_seconds = 0, peak_bytes = 0;
};

/// For a layout that is none, or that does not fit: another layout on the cluster as it is, with
/// as few decisions changed as possible and, where one exists, the same global batch; and, where
/// the layout itself is legal, the cluster that would hold it (more nodes, larger memory). Empty:
/// nothing that was tried fits, or it fits already.
/// `base`: the inputs before `asked` (a what-if, may be empty) made `inputs` of them; a proposal
/// holds what was asked and is not changed again, so that it is to be applied to `base`.
std::vector<Proposal> proposals(const Inputs& inputs, const Inputs& base, const std::string& asked);

}  // namespace weft::scheduler
