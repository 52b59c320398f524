// How long a step takes from its beginning to the beginning of the next one: all that a run does
// for a step, also between two of them. Pure.
#pragma once

#include <span>

#include "dualpipe/measured.h"

namespace weft::runtime {

/// Seconds. Over stretches of 8 steps that follow each other: where ranks share cores, one step is
/// short because the next one pays for it. An evaluation or a checkpoint in between lengthens one
/// stretch, which the median leaves out.
struct StepPeriod {
  double median = 0, low = 0, high = 0;  // low, high: quartiles
  int steps = 0;                         // that were looked at; 0: there are too few
};

/// `steps`: as recorded, ascending. Those of the newest stage of the recipe are looked at.
StepPeriod step_period(std::span<const dualpipe::MeasuredStep> steps);

/// Of that, what lies between two training passes, from the last rank's end of one to the last
/// rank's beginning of the next: batches, reports, agreeing on the next step. The median over
/// steps; 0: no two steps follow each other.
double seconds_between_passes(std::span<const dualpipe::MeasuredStep> steps);

}  // namespace weft::runtime
