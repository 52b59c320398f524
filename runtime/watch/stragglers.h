// Who is slower than its peers: NVRx's two scores over the ranks' self times. Pure.
// Source: NVIDIA Resiliency Extension, straggler detection (relative and individual GPU scores,
// both flagged below 0.75).
#pragma once

#include <span>
#include <string>
#include <vector>

namespace weft::runtime {

struct StragglerOptions {
  double threshold = 0.75;
  int window = 20;  // steps that one score is made from
};

/// 1: as fast as the best. 0.5: twice as slow.
struct StragglerScore {
  double relative = 1;    // the best median of the ranks with the same stages / its own
  double individual = 1;  // its own best window so far / the present one, per unit of work
};

struct StragglerState {
  int steps = 0;                           // in the present window
  std::vector<std::vector<double>> times;  // [rank][step of the window]
  std::vector<double> work;                // [step of the window]
  std::vector<double> best;                // [rank] seconds per unit of work; 0: no window yet
  std::vector<long long> since;            // [rank] the step at which it was flagged; -1: it is not
};

struct StragglerChange {
  int rank = 0;
  bool flagged = false;  // false: it is one no more
  StragglerScore score;
  long long since = 0;  // first step of the window in which it became one
  bool lasts = false;   // flagged for a window longer already: worth a swap
};

struct StragglerFinding {
  bool scored = false;                 // a window has ended with this step
  std::vector<StragglerScore> scores;  // by rank
  std::vector<StragglerChange> changes;
};

/// One step's self times (seconds busy without any wait; one a rank), the step's work (tokens) and
/// each rank's peer group (any number, equal for ranks of the same stages). A rank without peers
/// has no relative score; a time of 0 says that nothing was measured, and such steps are left out.
/// `state` starts empty and keeps its memory from step to step.
StragglerFinding watch_stragglers(StragglerState& state, long long step,
                                  std::span<const double> self, double work,
                                  std::span<const int> peers, const StragglerOptions& options);

/// "rank 3 takes 1.9 times as long as the best of its peers since step 41 (relative 0.53, ...)".
std::string describe(const StragglerChange& change, const StragglerOptions& options);

}  // namespace weft::runtime
