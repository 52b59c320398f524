// From a list of phases to what is run, begun and finished when, and what that takes. Pure.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "dualpipe/merge_phases.h"

namespace weft::dualpipe {

/// What to do with a phase. A compute phase is run, a communication phase begun and later finished.
struct PhaseMove {
  enum class What { Run, Begin, Finish };
  What what = What::Run;
  PhaseStep step;
  friend bool operator==(const PhaseMove&, const PhaseMove&) = default;
};

/// One pass alone: nothing overlaps, so each communication phase is finished right away.
enum class Parts { All, ButWeights, WeightsOnly };
std::vector<PhaseMove> plain_moves(std::span<const Phase> phases, bool backward, Parts parts);

/// A merged pair. A communication phase is begun as soon as its own pass has come to it and the
/// communication phases before it in the merged order have begun, and finished just before the
/// next phase of its pass that needs it (weight gradients need none, recomputation only what it
/// sent itself). So the other pass's compute, and the own weight gradients and recomputation, hide
/// it. Pure; the same on every lane.
std::vector<PhaseMove> overlapped_moves(std::span<const PhaseStep> merged);

/// What the executor does for one compute action, given the phase lists of the stage that it runs
/// forward and of the one that it runs backward (FB: two stages; else the same one). Pure.
std::vector<PhaseMove> moves_of(Op op, std::span<const Phase> forward,
                                std::span<const Phase> backward, bool overlap);

/// Time of a phase, in the unit of your choice.
using PhaseCost = std::function<double(const PhaseStep&)>;

struct PairTime {
  double total = 0;     // of the moves, as one action of the schedule (OpCosts::fb, ::f, ::b)
  double compute = 0;   // on the compute lane
  double exchange = 0;  // on the communication lane
  double exposed = 0;   // total - compute: what the compute lane waited for
};

/// Runs the moves on two lanes, each doing one thing at a time.
PairTime cost_moves(std::span<const PhaseMove> moves, const PhaseCost& cost);

/// "combine(B) layer 1": one step; W marks a weight gradient, A recomputation (again).
std::string describe(const PhaseStep& step);
/// One move a line: "begin combine(B) layer 1", "attention(F) layer 0", "finish ...".
std::string to_text(std::span<const PhaseMove> moves);

}  // namespace weft::dualpipe
