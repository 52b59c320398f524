// ZBV: the V-shaped zero-bubble order. It is built for at least 2P-1 micro-batches; for fewer, the
// same order is made for 2P-1 and the surplus left out.
// Source: Qi et al., "Pipeline Parallelism with Controllable Memory", 2024.
#include <algorithm>

#include "dualpipe/generators.h"

namespace weft::dualpipe {
namespace {

class Writer {
 public:
  Writer(int ranks, int rank, int wanted)
      : legs_{Chunk{0, rank, 0}, Chunk{1, 2 * ranks - 1 - rank, 0}}, wanted_(wanted) {}

  void forward(int leg) { put(Op::F, leg, forwards[leg]++); }
  void backward_input(int leg) { put(Op::BI, leg, backwards[leg]++); }
  void weight(int leg) { put(Op::W, leg, weights[leg]++); }
  void backward(int leg) {
    backward_input(leg);
    weight(leg);
  }
  std::vector<Action> take() { return std::move(program_); }

  int forwards[2] = {0, 0};
  int backwards[2] = {0, 0};
  int weights[2] = {0, 0};

 private:
  void put(Op op, int leg, int micro_batch) {
    if (micro_batch >= wanted_) return;
    program_.push_back({op, {legs_[leg].direction, legs_[leg].stage, micro_batch}, {}});
  }

  Chunk legs_[2];
  int wanted_;
  std::vector<Action> program_;
};

std::vector<Action> program_of(const Size& size, int rank) {
  const int to_turn = size.ranks - rank;  // counting this rank
  const int total = std::max(2 * size.ranks - 1, size.micro_batches);
  Writer out(size.ranks, rank, size.micro_batches);
  // Ramp up: fill the way out, then both ways in turn, then start to go back.
  for (int i = 0; i < 2 * to_turn - 1; ++i) out.forward(0);
  for (int i = 0; i < rank; ++i) {
    out.forward(1);
    out.forward(0);
  }
  for (int i = 0; i < to_turn; ++i) {
    out.forward(1);
    out.backward(1);
  }
  // Steady: one of each.
  while (out.forwards[1] < out.forwards[0] || out.forwards[0] < total) {
    if (out.forwards[0] < total) out.forward(0);
    out.backward(0);
    out.forward(1);
    out.backward(1);
  }
  // Ramp down: what others wait for first, weight gradients in the gaps.
  for (int i = 0; i < rank; ++i) {
    out.backward_input(0);
    out.backward_input(1);
  }
  for (int i = 0; i < to_turn; ++i) {
    out.backward_input(0);
    out.weight(0);
  }
  while (out.weights[1] < out.backwards[1]) out.weight(1);
  while (out.weights[0] < out.backwards[0]) out.weight(0);
  return out.take();
}

}  // namespace

Schedule make_zbv(const Size& size) {
  Schedule schedule = empty_schedule(Kind::ZBV, size);
  for (int rank = 0; rank < size.ranks; ++rank) {
    schedule.programs[static_cast<std::size_t>(rank)] = program_of(size, rank);
  }
  return schedule;
}

}  // namespace weft::dualpipe
