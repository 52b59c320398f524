// What the executor needs to know of a stage: a list of phases for each pass, a way to run one, and
// where the tensors on its edges lie. Models implement it; the executor and tests know only this.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "base/expected.h"
#include "dualpipe/schedule.h"

namespace weft::dualpipe {

enum class Pass { Forward, Backward };

enum class PhaseKind { Embed, Attention, Dispatch, Experts, Combine, Head };
std::string_view to_string(PhaseKind kind);

/// Part of a pass. Forward phases have part Whole. Backward compute phases come as Input then
/// Weights; communication phases of a backward are Input. Again: forward work done once more for
/// the backward (activation recomputation). It reads what Again phases made and no gradient, so a
/// communication phase that brings a gradient may be under way meanwhile.
enum class Part { Whole, Input, Weights, Again };

struct Phase {
  PhaseKind kind = PhaseKind::Attention;
  int layer = 0;  // index inside the stage
  Part part = Part::Whole;
  friend bool operator==(const Phase&, const Phase&) = default;
};

/// Dispatch and Combine use the communication lane; everything else computes.
constexpr bool communicates(const Phase& phase) {
  return phase.kind == PhaseKind::Dispatch || phase.kind == PhaseKind::Combine;
}

/// One stage as the executor sees it. Threads: one.
class Stage {
 public:
  virtual ~Stage() = default;

  /// Phases in execution order; the same for every micro-batch. Backward lists Again, Input and
  /// Weights phases; BI runs all but Weights, W runs the Weights ones, B the list as it stands.
  virtual std::span<const Phase> phases(Pass pass) const = 0;

  /// Runs a compute phase whole; starts a communication phase.
  virtual Expected<void> begin(Pass pass, const Phase& phase, const Chunk& chunk) = 0;
  /// Ends a communication phase that `begin` started. Not called for compute phases.
  virtual Expected<void> finish(Pass pass, const Phase& phase, const Chunk& chunk) = 0;

  /// Before the first phase of a pass, on a stage that has a neighbour on that side: where the
  /// incoming activation (Forward) or output gradient (Backward) is to be received.
  virtual std::span<std::byte> incoming(Pass pass, const Chunk& chunk) = 0;
  /// After the last Input/Whole phase: the activation (Forward) or input gradient (Backward) to
  /// send. Stays valid until `sent`.
  virtual std::span<const std::byte> outgoing(Pass pass, const Chunk& chunk) = 0;
  virtual void sent(Pass /*pass*/, const Chunk& /*chunk*/) {}

  /// For the trace: what the exchange that was just finished brought here, this rank's own
  /// included.
  virtual std::size_t exchanged_bytes(Pass, const Phase&, const Chunk&) const { return 0; }
};

/// The step's other actions.
class StepEnd {
 public:
  virtual ~StepEnd() = default;
  virtual Expected<void> reduce(int stage) = 0;
  virtual Expected<void> update() = 0;
  virtual Expected<void> snapshot() = 0;
};

}  // namespace weft::dualpipe
