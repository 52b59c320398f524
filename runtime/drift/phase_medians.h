// What the phases of a recorded step took: medians over steps of what is the same. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "dualpipe/measured.h"
#include "dualpipe/merge_phases.h"

namespace weft::runtime {

/// Phases of one kind, layer and stage on one rank, a step's first one apart: it finds the weights
/// changed and packs them again.
struct PhaseMedian {
  std::string phase;  // "attention", "experts backward", "dispatch", ...
  int rank = 0, stage = 0, layer = 0;
  bool exchange = false;
  bool first = false;
  int count = 0;       // over all steps
  double seconds = 0;  // the median: an interrupted phase's wait is not its work
};

/// What is compared as one: input and weight parts are recorded apart, exchanges by direction.
std::string name_of(const dualpipe::PhaseStep& step);

/// Of the training passes of whole steps. `each` sees every phase, and whether it ran in an
/// overlapped pair.
std::vector<PhaseMedian> phase_medians(
    const std::vector<dualpipe::MeasuredStep>& steps,
    const std::function<void(const std::string& name, int rank, int stage,
                             const dualpipe::PhaseStep&, bool paired)>& each = {});

/// Seconds of a rank's compute phases in a step, the mean over ranks; weights packed already, but
/// where a step has one such phase only. 0: nothing is recorded.
double computing_seconds(const std::vector<dualpipe::MeasuredStep>& steps);

}  // namespace weft::runtime
