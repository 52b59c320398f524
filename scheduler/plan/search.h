// The best layouts for a model on a cluster, and what each decision of a layout is worth.
#pragma once

#include <string>
#include <vector>

#include "scheduler/plan/plan.h"

namespace weft::scheduler {

/// A layout that was looked at.
struct Candidate {
  Work work;
  double step_seconds = 0;
  double peak_bytes = 0;
  double bubble_share = 0, exposed_share = 0;
  double tokens_per_second = 0;
  int dominated_by = -1;  // index of one that is faster and needs less memory
};

struct SearchResult {
  std::vector<Candidate> best;  // ascending step time; at most SearchOptions::keep
  int considered = 0;
  int too_large = 0;               // do not fit into memory
  int too_slow = 0;                // cannot be among the best, by a bound on their compute alone
  std::vector<std::string> notes;  // what was ruled out as a whole, and why
};

struct SearchOptions {
  int keep = 10;
  int gpus = 0;  // 0: as the job
};

/// Over pipeline, expert and data sizes, schedule, micro-batch, recomputation and precision, with
/// the global batch and the number of GPUs as they are. Deterministic.
/// Errors: InvalidArgument when no layout fits (says the nearest).
Expected<SearchResult> search(const Work& work, const Cluster& cluster,
                              const TimeAssumptions& assumptions = {},
                              const SearchOptions& options = {});

/// One decision of a plan against the best other choice for it, everything else being equal.
struct Alternative {
  std::string decision;  // "schedule"
  std::string chosen, other;
  bool possible = false;  // fits; then `slower` holds
  double slower = 0;      // step time over the chosen one's, less 1 (negative: it would be faster)
  double bytes = 0;       // of its fullest rank
  std::string why_not;    // where it does not fit
};
std::vector<Alternative> alternatives(const Prediction& chosen, const Cluster& cluster,
                                      const TimeAssumptions& assumptions = {});

}  // namespace weft::scheduler
