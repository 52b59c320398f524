// A plan as lines for people and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "scheduler/plan/proposal.h"
#include "scheduler/plan/search.h"
#include "scheduler/plan/what_if.h"

namespace weft::cli {

using Lines = std::vector<std::pair<std::string, std::string>>;

nlohmann::json plan_json(const scheduler::Prediction& plan, const scheduler::Inputs& inputs,
                         const std::vector<scheduler::Alternative>& why,
                         const std::vector<scheduler::Proposal>& changes);
Lines plan_lines(const scheduler::Prediction& plan, const scheduler::Inputs& inputs,
                 const std::vector<scheduler::Alternative>& why,
                 const std::vector<scheduler::Proposal>& changes, WallTime now);
/// "with --what-if 'data=64': 38.1 s a step, 79.0 GB".
std::string proposal_text(const scheduler::Proposal& change);

nlohmann::json candidate_json(const scheduler::Candidate& candidate);
/// "dualpipe P16 D128 E64, 120 x 1, mla_up, fp8".
std::string layout_text(const scheduler::Work& work);
/// What the figures rest on: calibrated constants, assumptions, sources of the cluster's figures.
std::vector<std::string> assumptions_of(const scheduler::Inputs& inputs);

/// Three digits: "19.2 s", "1.25 ms", "53.1 d".
std::string short_time(double seconds);
/// Three digits with K, M, B.
std::string short_count(double value);

}  // namespace weft::cli
