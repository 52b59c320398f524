// Where the two rooms meet: a trainer::StageModel seen as the dualpipe::Stage that the executor
// runs.
#pragma once

#include <vector>

#include "dualpipe/stage.h"
#include "trainer/model/stage_model.h"

namespace weft::runtime {

/// Slot of the model = micro-batch of the chunk. Threads: one. The model must outlive the adapter.
class StageAdapter final : public dualpipe::Stage {
 public:
  explicit StageAdapter(trainer::StageModel& model);

  /// The micro-batches of the coming pass; they must outlive it.
  void start_pass(std::span<const trainer::MicroBatch> batches);
  /// Releases what a forward-only pass still holds.
  void end_pass();

  std::span<const dualpipe::Phase> phases(dualpipe::Pass pass) const override;
  Expected<void> begin(dualpipe::Pass pass, const dualpipe::Phase& phase,
                       const dualpipe::Chunk& chunk) override;
  Expected<void> finish(dualpipe::Pass pass, const dualpipe::Phase& phase,
                        const dualpipe::Chunk& chunk) override;
  std::span<std::byte> incoming(dualpipe::Pass pass, const dualpipe::Chunk& chunk) override;
  std::span<const std::byte> outgoing(dualpipe::Pass pass, const dualpipe::Chunk& chunk) override;
  void sent(dualpipe::Pass pass, const dualpipe::Chunk& chunk) override;
  std::size_t exchanged_bytes(dualpipe::Pass pass, const dualpipe::Phase& phase,
                              const dualpipe::Chunk& chunk) const override;

 private:
  /// A slot's activations go back to the pool when nobody reads them any more.
  struct SlotState {
    bool weights_done = false;
    bool gradient_sent = false;
    bool released = false;
  };
  Expected<void> begin_forward(const dualpipe::Phase& phase, int slot);
  Expected<void> begin_again(const dualpipe::Phase& phase, int slot);
  Expected<void> begin_backward(const dualpipe::Phase& phase, int slot);
  void release(int slot);
  void release_after_backward(int slot);

  trainer::StageModel& model_;
  std::vector<dualpipe::Phase> forward_, backward_;
  std::vector<SlotState> slots_;
};

}  // namespace weft::runtime
