// Losses, rewards and completions of a plausible shape. Nothing here was learned by anybody: every
// record made of it says "synthetic": true.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "runtime/job/job.h"

namespace weft::runtime {

/// Pure: the same for a step whenever and however often it is done.
class SyntheticCurves {
 public:
  SyntheticCurves(const Job& job, std::uint64_t seed);

  /// loss, grad_norm and for grpo reward, accuracy, length and so on, under the names that a real
  /// step reports. `tokens`: trained on before this step, all stages together. `stage_step` from 1.
  nlohmann::json record(const std::string& stage, long long step, long long stage_step,
                        double tokens) const;
  /// A few completions of a grpo step.
  std::vector<nlohmann::json> samples(long long step, long long stage_step) const;

 private:
  double reward_at(long long stage_step) const;

  const Job& job_;
  std::uint64_t seed_;
  double active_;  // parameters that one token uses
};

}  // namespace weft::runtime
