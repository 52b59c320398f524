// Where the copies of every expert live: a value, equal on every rank of an expert group. The
// trivial one, an expert on one rank each, is what training uses.
#pragma once

#include <cstdint>
#include <vector>

#include "base/expected.h"
#include "comm/exchange/node_map.h"

namespace weft::comm {

/// A *seat* is a place for one expert's weights; rank r has seats [r, r + 1) * seats_per_rank. The
/// first ones of a rank hold the experts that are at *home* there, in order; the rest hold
/// replicas of experts whose home is elsewhere, or nothing.
struct ExpertPlacement {
  int num_experts = 0;
  int num_ranks = 1;
  int seats_per_rank = 0;
  std::vector<std::int32_t> expert_of;  // [seats]; -1: empty
  std::vector<double> share_of;  // [seats] part of its expert's tokens; an expert's add up to 1

  /// Expert e on rank e / (num_experts / num_ranks) and nowhere else, and so many empty seats a
  /// rank. num_ranks divides num_experts.
  static ExpertPlacement at_home(int num_experts, int num_ranks, int empty_seats_per_rank = 0);

  int num_seats() const { return num_ranks * seats_per_rank; }
  int home_seats() const { return num_experts / num_ranks; }  // of a rank
  int home_rank(int expert) const { return expert / home_seats(); }
  int rank_of(int seat) const { return seat / seats_per_rank; }
  int local_of(int seat) const { return seat % seats_per_rank; }

  friend bool operator==(const ExpertPlacement&, const ExpertPlacement&) = default;
};

/// Errors: InvalidArgument naming the seat and the rule that it breaks.
Expected<void> check_placement(const ExpertPlacement& placement);

/// Which replica each token of this rank takes, one after the other: the rank's own as far as its
/// share goes, then those of its node, then the others, such that over all ranks (of equally many
/// tokens) every replica gets its share. A function of the placement, the rank and how many tokens
/// came before; no result depends on it.
class ReplicaPicker {
 public:
  /// `nodes`: empty: one node. Requires a placement that check_placement allows.
  ReplicaPicker(const ExpertPlacement& placement, int rank, const NodeMap& nodes);

  /// The seat of the next token that chose this expert.
  std::int32_t next(std::int32_t expert);
  /// Of the tokens that this rank sends to the seat's expert, the part that takes it.
  double part(std::int32_t seat) const;

 private:
  struct Option {
    std::int32_t seat;
    double part;
    double due;  // tokens that it should have had, less those that it got
  };
  std::vector<std::int32_t> begin_;  // [num_experts + 1] into options_
  std::vector<Option> options_;
};

}  // namespace weft::comm
