#include "runtime/cli/plan_published.h"

#include <fmt/format.h>

#include <cmath>

namespace weft::cli {
namespace {

// DeepSeek-V3 technical report (arXiv 2412.19437), table 1: H800 GPU-hours.
constexpr double kTrillions = 14.8, kHoursATrillion = 180e3, kExtension = 119e3, kAfter = 5e3;
// DeepSeek-R1 (Nature 645, Methods): 512 H800; GPU-hours of the supervised data.
constexpr double kR1Gpus = 512, kZeroHours = 198, kR1Hours = 80, kR1Data = 5e3;

bool is_v3(const scheduler::ModelShape& m) {
  return m.layers == 61 && m.hidden == 7168 && m.experts == 256 && m.top_k == 8 && m.latent;
}

std::string thousands(double hours) {
  const double k = hours / 1e3;
  return k < 999.5 ? fmt::format("{:.0f}K", k)
                   : fmt::format("{},{:03}K", static_cast<int>(k + 0.5) / 1000,
                                 static_cast<int>(k + 0.5) % 1000);
}

std::string cost(double hours, double price) {
  const double dollars = hours * price;
  return fmt::format("{} GPU-hours, ", thousands(hours)) +
         (dollars < 1e6 ? fmt::format("${:.0f}K", dollars / 1e3)
                        : fmt::format("${:.3f}M", dollars / 1e6));
}

}  // namespace

Lines published_lines(const scheduler::Prediction& plan, const scheduler::Cluster& cluster) {
  if (!plan.timed || !is_v3(plan.work.model) || cluster.gpu.name != "H800" ||
      !(cluster.gpu_hour > 0))
    return {};
  const double price = cluster.gpu_hour;
  const double stated = kTrillions * kHoursATrillion, rest = kExtension + kAfter;
  const double predicted = kTrillions * 1e12 / (plan.tokens_per_second / plan.gpus) /
                           3600;  // as the published: no losses
  const auto both = [&](double published, double here) {
    return fmt::format("{}; predicted here {} ({:+.1f} %)", cost(published, price),
                       cost(here, price), 100 * (here / published - 1));
  };
  Lines lines;
  lines.emplace_back("published", fmt::format("pre-training, {:.1f} T tokens x 180K GPU-hours a "
                                              "trillion = {}",
                                              kTrillions, both(stated, predicted)));
  lines.emplace_back(
      "published",
      fmt::format("V3 in all, + {} context extension + {} post-training = {}",
                  thousands(kExtension), thousands(kAfter), both(stated + rest, predicted + rest)));
  // The paper rounds each part.
  const auto rounded = [](double hours) { return std::round(hours / 1e3) * 1e3; };
  const double r1 = rounded(kR1Gpus * kZeroHours) + kR1Data + rounded(kR1Gpus * kR1Hours);
  lines.emplace_back(
      "published", fmt::format("R1 from it, 512 GPUs x 198 h (R1-Zero) + 5K (data) + 512 x 80 h = "
                               "{}; not predicted: how long its rollouts are is not published",
                               cost(r1, price)));
  return lines;
}

}  // namespace weft::cli
