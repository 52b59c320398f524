// The virtual device's lengths, and what a step of them takes: the one place from which both the
// prediction and the waits are made. Pure.
#pragma once

#include <cstddef>
#include <vector>

#include "base/clock.h"
#include "base/expected.h"
#include "dualpipe/overlap.h"
#include "dualpipe/timeline.h"
#include "scheduler/placement.h"

namespace weft::runtime {

/// How long things take on a virtual device. Lengths of compute are those of one pass of one stage
/// (all its layers), in whole nanoseconds, so that sums are exact.
struct VirtualTimes {
  Duration forward{0};
  Duration backward_input{0};
  Duration weight{0};
  /// All dispatches and combines of one pass of a stage, on the wire. The 2 x layers exchanges of a
  /// pass are equally long.
  Duration exchange{0};
  Duration reduce{0};  // of one stage's gradients, after the real exchange of reduce_bytes
  Duration update{0};
  int layers = 1;                     // a stage
  double attention_share = 0.5;       // of a layer's compute; the rest is the experts
  std::vector<double> stage_factors;  // compute of stage s is multiplied by factor s; empty: all 1

  // What really travels.
  std::size_t message_bytes = 4096;   // an activation or a gradient; at least kMessageBytesMin
  std::size_t dispatch_bytes = 4096;  // a dispatch or combine, to each other lane
  std::size_t reduce_bytes = 4096;    // a stage's gradients

  bool exchanges() const { return exchange > Duration(0); }
};
inline constexpr std::size_t kMessageBytesMin = 64;

/// The phases of a stage. Without an exchange length there are no dispatches and combines.
std::vector<dualpipe::Phase> virtual_phases(const VirtualTimes& times, dualpipe::Pass pass);
Duration length_of(const VirtualTimes& times, int stage, const dualpipe::PhaseStep& step);
/// What one compute action takes. `action`: F, B, BI, W or FB.
dualpipe::PairTime time_of(const VirtualTimes& times, const dualpipe::Action& action, bool overlap);

struct VirtualPlan {
  dualpipe::Schedule schedule;  // lowered: messages and the end of the step
  dualpipe::Timeline timeline;  // in nanoseconds; up to the last compute action
  dualpipe::PairTime all;       // over all actions of all ranks, in nanoseconds
  dualpipe::PairTime pairs;     // of these, the overlapped pairs
};

/// The step as it has to come out if nothing but the given lengths took time (and, where `latency`
/// is given, each message so long). Errors: InvalidArgument for an illegal size.
Expected<VirtualPlan> plan_virtual(const scheduler::Layout& layout, const VirtualTimes& times,
                                   bool overlap, Duration latency = Duration(0));

/// Share of the exchange that no compute lane waited for; 1 where there is none.
inline double hidden_share(double exchange, double exposed) {
  return exchange > 0 ? 1 - exposed / exchange : 1;
}

}  // namespace weft::runtime
