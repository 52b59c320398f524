// How evenly the router loads the experts, said now and then: the loads themselves, for weft
// balance, and an offer of replicas where the bias does not keep up. Nothing here changes training.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/job/job.h"

namespace weft::runtime {

/// Rank 0's. Threads: one.
class ExpertReport {
 public:
  explicit ExpertReport(const Job& job) : job_(job) {}

  struct Event {
    std::string kind, message;
    /// "step", "weight": [[load of each expert] per MoE layer], "ranks", "replicas" (slots of a
    /// layer, one more a rank than without), "imbalance" (busiest rank over mean),
    /// "imbalance_with_replicas", "gain" (part of the experts' time), "step_seconds",
    /// "predicted_step_seconds".
    std::unique_ptr<nlohmann::json> details;
  };
  /// After every step whose update was applied. loads: [block][expert] of the global batch,
  /// next-token modules included; empty: not known. At most one event:
  /// "expert_loads" every kEvery steps; "expert_offer" when the busiest rank had more than kBound
  /// times the mean in each of the last kWindow steps, the bias has had kBiasSteps to act, and the
  /// last offer is kPause steps ago.
  std::optional<Event> stepped(long long step, std::span<const double> loads, double step_seconds);

  static constexpr long long kEvery = 100, kBiasSteps = 300, kPause = 1000;
  static constexpr std::size_t kWindow = 50;
  static constexpr double kBound = 1.2;

 private:
  using Layers = std::vector<std::vector<double>>;  // of MoE blocks that were loaded
  struct Step {
    double imbalance, seconds;
  };
  Layers layers(std::span<const double> loads) const;
  double imbalance(const Layers& layers) const;
  std::optional<Event> event(const std::string& kind, long long step, Layers layers,
                             double step_seconds) const;

  const Job& job_;
  std::deque<Step> recent_;
  Layers sum_;  // of the loads since `recent_` was last emptied or an offer made
  long long offered_ = -kPause;
};

/// What a step would take if the experts' work were shared more evenly: the experts' part of it (by
/// operations, share_of_experts) is as long as the busiest rank's.
double predicted_step_seconds(double step_seconds, double share_of_experts, double before,
                              double after);
/// Of the operations that a token takes, those of its routed experts.
double share_of_experts(const Job& job);

}  // namespace weft::runtime
