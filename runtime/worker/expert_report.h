// How evenly the router loads the experts, said now and then: the loads themselves, for weft
// balance, and what replicas would bring where the bias does not keep up.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "runtime/job/job.h"

namespace weft::runtime {

/// A step after which the loads are worth a line: rare, as they are many numbers.
bool reports_experts(long long step);

/// The details of an event "expert_loads": {"step", "weight": [[load of each expert] per MoE
/// layer], "imbalance", "imbalance_with_replicas", "gain"}, and its message. `loads`:
/// [block][expert], next-token modules included. False: there is nothing to say.
bool expert_event(const Job& job, long long step, std::span<const double> loads,
                  std::string& message, nlohmann::json& details);

}  // namespace weft::runtime
