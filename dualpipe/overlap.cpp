#include "dualpipe/overlap.h"

#include <algorithm>
#include <optional>

namespace weft::dualpipe {
namespace {

using What = PhaseMove::What;

/// Communication phases of a merged pair on their way through the communication lane.
class Overlap {
 public:
  explicit Overlap(std::span<const PhaseStep> merged) : merged_(merged) {
    for (std::size_t i = 0; i < merged.size(); ++i) {
      if (communicates(merged[i].phase)) lane_.push_back(i);
    }
  }

  std::vector<PhaseMove> run() {
    begin_ready(0);
    for (std::size_t i = 0; i < merged_.size(); ++i) {
      const PhaseStep& step = merged_[i];
      if (communicates(step.phase)) continue;
      const bool chained = step.phase.part != Part::Weights;
      if (chained) {
        begin_up_to(i, step.backward);
        if (needs_open(step)) finish(step.backward);
      }
      moves_.push_back({What::Run, step});
      begin_ready(i + 1);
    }
    begin_up_to(merged_.size(), false);
    begin_up_to(merged_.size(), true);
    finish(false);
    finish(true);
    return std::move(moves_);
  }

 private:
  /// Everything of its pass before it has run by the time `now` steps of the merged order are done.
  bool ready(std::size_t comm, std::size_t now) const {
    for (std::size_t i = now; i < comm; ++i) {
      const bool same = merged_[i].backward == merged_[comm].backward;
      if (same && merged_[i].phase.part != Part::Weights && !communicates(merged_[i].phase)) {
        return false;
      }
    }
    return true;
  }

  void begin_ready(std::size_t now) {
    while (next_ < lane_.size() && ready(lane_[next_], now)) {
      // Two communication phases of one pass in a row: the second needs the first.
      if (open_[merged_[lane_[next_]].backward] && lane_[next_] >= now) return;
      begin_next();
    }
  }

  /// Everything of this pass that stands before `place`, and what the lane has before that.
  void begin_up_to(std::size_t place, bool backward) {
    std::size_t end = next_;
    for (std::size_t i = next_; i < lane_.size() && lane_[i] < place; ++i) {
      if (merged_[lane_[i]].backward == backward) end = i + 1;
    }
    while (next_ < end) begin_next();
  }

  /// Does the compute phase read what the open communication phase of its pass brings?
  bool needs_open(const PhaseStep& step) const {
    const auto& open = open_[step.backward];
    return open && (step.phase.part != Part::Again || open->phase.part == Part::Again);
  }

  void begin_next() {
    const PhaseStep& step = merged_[lane_[next_++]];
    finish(step.backward);
    moves_.push_back({What::Begin, step});
    open_[step.backward] = step;
  }

  void finish(bool backward) {
    if (!open_[backward]) return;
    moves_.push_back({What::Finish, *open_[backward]});
    open_[backward].reset();
  }

  std::span<const PhaseStep> merged_;
  std::vector<std::size_t> lane_;  // communication phases, in merged order
  std::size_t next_ = 0;           // in lane_
  std::optional<PhaseStep> open_[2];
  std::vector<PhaseMove> moves_;
};

}  // namespace

std::vector<PhaseMove> plain_moves(std::span<const Phase> phases, bool backward, Parts parts) {
  std::vector<PhaseMove> moves;
  for (const Phase& phase : phases) {
    const bool weights = phase.part == Part::Weights;
    if (parts == Parts::ButWeights && weights) continue;
    if (parts == Parts::WeightsOnly && !weights) continue;
    if (communicates(phase)) {
      moves.push_back({What::Begin, {backward, phase}});
      moves.push_back({What::Finish, {backward, phase}});
    } else {
      moves.push_back({What::Run, {backward, phase}});
    }
  }
  return moves;
}

std::vector<PhaseMove> overlapped_moves(std::span<const PhaseStep> merged) {
  return Overlap(merged).run();
}

std::vector<PhaseMove> moves_of(Op op, std::span<const Phase> forward,
                                std::span<const Phase> backward, bool overlap) {
  if (op == Op::F) return plain_moves(forward, false, Parts::All);
  if (op == Op::B) return plain_moves(backward, true, Parts::All);
  if (op == Op::BI) return plain_moves(backward, true, Parts::ButWeights);
  if (op == Op::W) return plain_moves(backward, true, Parts::WeightsOnly);
  if (op != Op::FB) return {};
  if (overlap) return overlapped_moves(merge_phases(forward, backward));
  auto moves = plain_moves(forward, false, Parts::All);
  const auto rest = plain_moves(backward, true, Parts::All);
  moves.insert(moves.end(), rest.begin(), rest.end());
  return moves;
}

PairTime cost_moves(std::span<const PhaseMove> moves, const PhaseCost& cost) {
  PairTime time;
  double lane_free = 0;
  double arrives[2] = {0, 0};
  for (const PhaseMove& move : moves) {
    if (move.what == What::Finish) {
      time.total = std::max(time.total, arrives[move.step.backward]);
      continue;
    }
    const double length = cost(move.step);
    if (move.what == What::Run) {
      time.total += length;
      time.compute += length;
    } else {
      lane_free = std::max(time.total, lane_free) + length;
      arrives[move.step.backward] = lane_free;
      time.exchange += length;
    }
  }
  time.exposed = time.total - time.compute;
  return time;
}

std::string describe(const PhaseStep& step) {
  const char* part = !step.backward                     ? "F"
                     : step.phase.part == Part::Weights ? "W"
                     : step.phase.part == Part::Again   ? "A"
                                                        : "B";
  return std::string(to_string(step.phase.kind)) + "(" + part + ") layer " +
         std::to_string(step.phase.layer);
}

std::string to_text(std::span<const PhaseMove> moves) {
  std::string text;
  for (const PhaseMove& move : moves) {
    if (move.what == What::Begin) text += "begin ";
    if (move.what == What::Finish) text += "finish ";
    text += describe(move.step) + '\n';
  }
  return text;
}

}  // namespace weft::dualpipe
