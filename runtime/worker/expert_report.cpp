#include "runtime/worker/expert_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "scheduler/balance/gain.h"

namespace weft::runtime {

double predicted_step_seconds(double step_seconds, double share, double before, double after) {
  return step_seconds * (1 - share + share * after) / (1 - share + share * before);
}

double share_of_experts(const Job& job) {
  const trainer::ModelConfig& m = job.model;
  double experts = 0, rest = 1.0 * m.vocab_size * m.hidden_size;  // the head
  const double expert = 3.0 * m.hidden_size * m.moe_intermediate_size;
  for (int block = 0; block < m.num_hidden_layers; ++block) {
    const double heads = m.num_attention_heads, hidden = m.hidden_size;
    if (m.latent_attention()) {
      const double key = m.qk_nope_head_dim + m.qk_rope_head_dim;
      rest += m.q_lora_rank > 0 ? m.q_lora_rank * (hidden + heads * key) : hidden * heads * key;
      rest += hidden * (m.kv_lora_rank + m.qk_rope_head_dim) +
              m.kv_lora_rank * heads * (m.qk_nope_head_dim + m.v_head_dim) +
              heads * m.v_head_dim * hidden;
    } else {
      rest += 2 * hidden * m.head_dim * (heads + m.num_key_value_heads);
    }
    if (!m.is_moe(block)) {
      rest += 3.0 * hidden * m.intermediate_size;
      continue;
    }
    rest += hidden * m.n_routed_experts + m.n_shared_experts * expert;
    experts += m.num_experts_per_tok * expert;
  }
  return experts / (experts + rest);
}

ExpertReport::Layers ExpertReport::layers(std::span<const double> loads) const {
  Layers out;
  const auto experts = static_cast<std::size_t>(job_.model.n_routed_experts);
  if (experts == 0 || job_.parallel.expert < 2) return out;
  for (std::size_t block = 0; block < loads.size() / experts; ++block) {
    if (!job_.model.is_moe(static_cast<int>(block))) continue;
    const auto row = loads.subspan(block * experts, experts);
    if (std::accumulate(row.begin(), row.end(), 0.0) > 0) out.emplace_back(row.begin(), row.end());
  }
  return out;
}

/// Busiest rank over mean, mean over the layers.
double ExpertReport::imbalance(const Layers& layers) const {
  const auto ranks = static_cast<std::size_t>(job_.parallel.expert);
  double sum = 0;
  for (const std::vector<double>& row : layers) {
    const std::size_t each = row.size() / ranks;
    double most = 0, total = 0;
    for (std::size_t r = 0; r < ranks; ++r) {
      const auto first = row.begin() + static_cast<std::ptrdiff_t>(r * each);
      const double load = std::accumulate(first, first + static_cast<std::ptrdiff_t>(each), 0.0);
      most = std::max(most, load);
      total += load;
    }
    sum += most * static_cast<double>(ranks) / total;
  }
  return sum / static_cast<double>(layers.size());
}

std::optional<ExpertReport::Event> ExpertReport::event(const std::string& kind, long long step,
                                                       Layers layers, double step_seconds) const {
  const int ranks = job_.parallel.expert;
  // Ranks of an expert group as GPUs of one node: replicas may go anywhere in the group.
  const auto gain = scheduler::balance_gain(layers, 1, 1, ranks);
  if (!gain) return std::nullopt;
  const double predicted =
      predicted_step_seconds(step_seconds, share_of_experts(job_), gain->before, gain->after);
  Event out;
  out.kind = kind;
  out.details = std::make_unique<nlohmann::json>(
      nlohmann::json{{"step", step},
                     {"ranks", ranks},
                     {"replicas", job_.model.n_routed_experts + ranks},
                     {"imbalance", gain->before},
                     {"imbalance_with_replicas", gain->after},
                     {"gain", gain->saved()},
                     {"step_seconds", step_seconds},
                     {"predicted_step_seconds", predicted}});
  (*out.details)["weight"] = std::move(layers);
  out.message = fmt::format("step {}: the busiest rank has {:.2f} times the mean load of experts",
                            step, gain->before);
  if (kind == "expert_offer")
    out.message = fmt::format(
        "the router's bias does not keep up: in each of the last {} steps the busiest rank had "
        "more than {:.1f} times the mean load of experts ({:.2f} over all of them). One more "
        "expert slot a rank would make it {:.2f} and a step {:.3g} s instead of {:.3g} s "
        "(predicted from operations); nothing was changed. See weft balance --run {}, or raise "
        "router_bias_update_rate",
        kWindow, kBound, gain->before, gain->after, predicted, step_seconds, job_.name);
  return out;
}

std::optional<ExpertReport::Event> ExpertReport::stepped(long long step,
                                                         std::span<const double> loads,
                                                         double step_seconds) {
  Layers now = layers(loads);
  if (now.empty()) return std::nullopt;
  recent_.push_back({imbalance(now), step_seconds});
  if (recent_.size() > kWindow) recent_.pop_front();
  if (recent_.back().imbalance <= kBound) sum_.clear();
  if (recent_.back().imbalance > kBound) {
    if (sum_.size() != now.size()) sum_.assign(now.size(), std::vector<double>(now[0].size(), 0.0));
    for (std::size_t l = 0; l < now.size(); ++l)
      for (std::size_t e = 0; e < now[l].size(); ++e) sum_[l][e] += now[l][e];
  }
  const bool lasts = recent_.size() == kWindow && std::ranges::all_of(recent_, [](const Step& s) {
                       return s.imbalance > kBound;
                     });
  if (lasts && step >= kBiasSteps && step - offered_ >= kPause) {
    offered_ = step;
    std::vector<double> times;
    for (const Step& s : recent_) times.push_back(s.seconds);
    std::ranges::nth_element(times, times.begin() + kWindow / 2);
    return event("expert_offer", step, std::exchange(sum_, {}), times[kWindow / 2]);
  }
  if (step % kEvery != 0) return std::nullopt;
  return event("expert_loads", step, std::move(now), step_seconds);
}

}  // namespace weft::runtime
