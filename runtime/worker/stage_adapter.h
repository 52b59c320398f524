// Where the two rooms meet: a trainer::StageModel seen as the dualpipe::Stage that the executor
// runs.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "dualpipe/stage.h"
#include "trainer/model/stage_model.h"

namespace weft::runtime {

/// Slot of the model = micro-batch of the chunk. Threads: one. The model must outlive the adapter.
/// Multi-token prediction modules are further layers behind the model's own: Embed (what joins
/// embedding and hidden state), the block's phases, Head, all with that layer's index. Passes that
/// do not train them have other lists.
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
  /// XXH3 of what each slot gave out in this pass, [2 * slot + backward]; 0 where it gave nothing.
  /// On the last stage the forward's is that of its losses, once take_head_hashes() was called.
  void want_output_hashes(bool wanted) { hashing_ = wanted; }
  std::span<const std::uint64_t> output_hashes() const { return hashes_; }
  void take_head_hashes();
  /// Called with what is about to be given out; for tests, which may change it.
  using OutputWatch =
      std::function<void(dualpipe::Pass, const dualpipe::Chunk&, std::span<trainer::Real>)>;
  void watch_outputs(OutputWatch watch) { output_watch_ = std::move(watch); }

  std::size_t exchanged_bytes(dualpipe::Pass pass, const dualpipe::Phase& phase,
                              const dualpipe::Chunk& chunk) const override;

 private:
  /// A slot's activations go back to the pool when nobody reads them any more.
  struct SlotState {
    bool weights_done = false;
    bool gradient_sent = false;
    bool released = false;
  };
  struct Lists {
    std::vector<dualpipe::Phase> forward, backward;
  };
  /// Who computes a layer's phases, and which layer that is to it.
  struct Layer {
    trainer::StageModel& model;
    int index;
  };
  Layer at(const dualpipe::Phase& phase) const;
  void add_block(Lists& lists, const trainer::StageModel& model, int layer, int shown) const;
  void add_backward(Lists& lists, const trainer::StageModel& model, int layer, int shown) const;
  Lists make_lists(std::size_t modules) const;
  Expected<void> begin_forward(const dualpipe::Phase& phase, int slot);
  Expected<void> begin_again(const dualpipe::Phase& phase, int slot);
  Expected<void> begin_backward(const dualpipe::Phase& phase, int slot);
  void release(int slot);
  void release_after_backward(int slot);

  trainer::StageModel& model_;
  std::vector<trainer::StageModel*> modules_;  // of multi-token prediction, by depth
  Lists with_modules_, without_;
  const Lists* lists_ = &with_modules_;
  std::vector<SlotState> slots_;
  bool hashing_ = false;
  std::vector<std::uint64_t> hashes_;
  OutputWatch output_watch_;
};

}  // namespace weft::runtime
