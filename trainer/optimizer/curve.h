// A number that changes over a training stage, as a list of phases: learning rates, above all.
// Source: DeepSeek-V3 report, section 4.2.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "trainer/optimizer/batch_plan.h"

namespace weft::trainer::optimizer {

/// From where the phase before it ended (0 before the first) to `to`.
struct CurvePhase {
  enum class Shape {
    Constant,  // at `to` from its first step
    Linear,    // `to` is reached by its last step
    Cosine     // half a wave; `to` is reached at the first step after it
  };
  Shape shape = Shape::Constant;
  double to = 0;
  double length = 0;
  bool in_tokens = false;  // else in steps
  friend bool operator==(const CurvePhase&, const CurvePhase&) = default;
};

/// Phases one after the other; the last value stays. A phase in tokens begins and ends with a step.
/// Threads: any; never changes.
class Curve {
 public:
  /// At least one phase.
  explicit Curve(std::vector<CurvePhase> phases);

  /// "linear 2K to 2.2e-4, constant 10T tokens, cosine 4.3T tokens to 2.2e-5, constant 333B tokens,
  /// constant 167B tokens at 7.3e-6": a shape, a length in steps or tokens, and where it leads
  /// ("to", of a constant "at"; a constant without it stays where it is). A number alone: always.
  /// Errors: InvalidArgument with "<message>\n<hint>", naming the phase.
  static Expected<Curve> parse(std::string_view text);

  /// At `step`, from 0.
  double at(long long step, const BatchPlan& plan) const;

  std::span<const CurvePhase> phases() const { return phases_; }
  bool in_tokens() const;  // any phase

 private:
  std::vector<CurvePhase> phases_;
};

}  // namespace weft::trainer::optimizer
