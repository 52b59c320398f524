// Who needs what: the facts about chunks that lowering, check and the timeline share.
#pragma once

#include <optional>
#include <string>

#include "dualpipe/schedule.h"

namespace weft::dualpipe {

constexpr bool is_message(Op op) {
  return op == Op::SendF || op == Op::RecvF || op == Op::SendB || op == Op::RecvB;
}
constexpr bool is_send(Op op) { return op == Op::SendF || op == Op::SendB; }
constexpr bool is_compute(Op op) {
  return op == Op::F || op == Op::B || op == Op::BI || op == Op::W || op == Op::FB;
}

/// "F dir 0 stage 1 mb 3", "FB (…) + (…)", "SendF … to 2": an action as errors name it.
std::string describe(const Action& action);
std::string describe(const Chunk& chunk);

/// The way of a micro-batch through the stages of one schedule. Activations go to the next higher
/// stage, gradients back; a V-shaped kind changes its direction number half way.
class Flow {
 public:
  explicit Flow(const Schedule& schedule);

  int stages() const { return stages_; }
  int directions() const { return num_directions(kind_); }
  /// Per direction.
  int micro_batches() const { return micro_batches_; }
  /// Number of (direction, stage, micro-batch) triples; ids are 0 .. size() - 1.
  int size() const { return directions() * stages_ * micro_batches_; }
  /// Requires valid(chunk).
  int id(const Chunk& chunk) const;
  /// Is there such a chunk at all, with the direction that its stage has?
  bool valid(const Chunk& chunk) const;
  int position(const Chunk& chunk) const;
  /// The chunk whose activation `chunk` needs; none on the first stage.
  std::optional<Chunk> before(const Chunk& chunk) const;
  /// The chunk whose gradient `chunk` needs; none on the last stage.
  std::optional<Chunk> after(const Chunk& chunk) const;

 private:
  Chunk at_stage(const Chunk& chunk, int stage) const;

  Kind kind_;
  int ranks_;
  int chunks_;
  int stages_;
  int micro_batches_;
};

/// The direction number of a stage in a V-shaped kind: 0 on the way out, 1 on the way back.
constexpr int v_direction(int ranks, int stage) { return stage < ranks ? 0 : 1; }
constexpr bool is_v(Kind kind) { return kind == Kind::ZBV || kind == Kind::DualPipeV; }

}  // namespace weft::dualpipe
