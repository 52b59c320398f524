#include "dualpipe/eight_steps.h"

#include "base/check.h"

namespace weft::dualpipe {
namespace {

/// Writes actions and keeps count of each stream's micro-batches and of the weight gradients put
/// off, which are made up for in the order in which they were put off.
class Writer {
 public:
  explicit Writer(const EightSteps& shape) : shape_(shape) {}

  void forward(int stream) { program_.push_back({Op::F, next_forward(stream), {}}); }

  void backward(int stream) { program_.push_back({Op::B, next_backward(stream), {}}); }

  void backward_input(int stream) {
    deferred_.push_back(next_backward(stream));
    program_.push_back({Op::BI, deferred_.back(), {}});
  }

  void weight() {
    WEFT_CHECK(made_up_ < deferred_.size());
    program_.push_back({Op::W, deferred_[made_up_++], {}});
  }

  void pair(int forward_stream, int backward_stream) {
    const Chunk forward = next_forward(forward_stream);
    program_.push_back({Op::FB, forward, next_backward(backward_stream)});
  }

  std::vector<Action> take() {
    WEFT_CHECK(made_up_ == deferred_.size());
    return std::move(program_);
  }

 private:
  Chunk next_forward(int stream) { return chunk(stream, forwards_[stream]++); }
  Chunk next_backward(int stream) { return chunk(stream, backwards_[stream]++); }
  Chunk chunk(int stream, int micro_batch) const {
    return {shape_.streams[stream].direction, shape_.streams[stream].stage, micro_batch};
  }

  const EightSteps& shape_;
  std::vector<Action> program_;
  std::vector<Chunk> deferred_;
  std::size_t made_up_ = 0;
  int forwards_[2] = {0, 0};
  int backwards_[2] = {0, 0};
};

void fill(Writer& out, int to_turn, int place) {
  for (int i = 0; i < 2 * to_turn; ++i) out.forward(0);  // step 1
  for (int i = 0; i <= place; ++i) {                     // step 2
    out.forward(0);
    out.forward(1);
  }
  for (int i = 0; i < to_turn; ++i) {  // step 3
    out.backward_input(1);
    out.weight();
    out.forward(1);
  }
}

void steady(Writer& out, int to_turn, int rounds) {
  for (int i = 0; i < rounds; ++i) {  // step 4
    if (i == 0 && to_turn == 0) {     // at the turn the first pair would only wait for itself
      out.forward(0);
      out.backward(1);
    } else {
      out.pair(0, 1);
    }
    out.pair(1, 0);
  }
  for (int i = 0; i < to_turn; ++i) {  // step 5
    out.backward(1);
    out.pair(1, 0);
  }
}

void drain(Writer& out, int to_turn, int place) {
  bool defer = false;
  const auto backward = [&](int stream) {
    defer ? out.backward_input(stream) : out.backward(stream);
  };
  for (int i = 0; i <= place; ++i) {  // step 6: its second half puts weight gradients off
    const bool half_way = i == (place + 1) / 2;
    if (half_way && place % 2 == 1) defer = true;
    backward(1);
    if (half_way && place % 2 == 0) defer = true;
    backward(0);
  }
  for (int i = 0; i < to_turn; ++i) {  // step 7
    out.weight();
    out.backward_input(0);
  }
  for (int i = 0; i <= place; ++i) out.weight();  // step 8
}

}  // namespace

std::vector<Action> eight_steps(const EightSteps& shape) {
  Writer out(shape);
  const int to_turn = shape.depth - shape.place - 1;
  fill(out, to_turn, shape.place);
  steady(out, to_turn, shape.main_rounds);
  drain(out, to_turn, shape.place);
  return out.take();
}

}  // namespace weft::dualpipe
