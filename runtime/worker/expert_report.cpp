#include "runtime/worker/expert_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "scheduler/balance/gain.h"

namespace weft::runtime {
namespace {

constexpr long long kEvery = 100;
// The bias has had time to act by then; above this the busiest rank holds the others up.
constexpr long long kBiasSteps = 300;
constexpr double kOffer = 1.2;

}  // namespace

bool reports_experts(long long step) { return step % kEvery == 0; }

bool expert_event(const Job& job, long long step, std::span<const double> loads,
                  std::string& message, nlohmann::json& details) {
  const int experts = job.model.n_routed_experts;
  if (experts == 0 || loads.empty() || job.parallel.expert < 2) return false;
  std::vector<std::vector<double>> layers;
  for (std::size_t block = 0; block < loads.size() / experts; ++block) {
    if (!job.model.is_moe(static_cast<int>(block))) continue;
    const auto row = loads.subspan(block * experts, experts);
    if (std::accumulate(row.begin(), row.end(), 0.0) > 0)
      layers.emplace_back(row.begin(), row.end());
  }
  if (layers.empty()) return false;
  // Ranks of an expert group as GPUs of one node: replicas may go anywhere in the group.
  const auto gain = scheduler::balance_gain(layers, 1, 1, job.parallel.expert);
  if (!gain) return false;
  details = {{"step", step},
             {"weight", layers},
             {"imbalance", gain->before},
             {"imbalance_with_replicas", gain->after},
             {"gain", gain->saved()}};
  message = fmt::format("step {}: the busiest rank has {:.2f} times the mean load of experts", step,
                        gain->before);
  if (step >= kBiasSteps && gain->before > kOffer)
    message += fmt::format(
        "; the bias does not keep up: one more expert slot a rank would make it {:.2f} and save "
        "{:.0f} % of the experts' time (weft balance --run RUN)",
        gain->after, 100 * gain->saved());
  return true;
}

}  // namespace weft::runtime
