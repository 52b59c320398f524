// Predicted beside published, with errors: DeepSeek-V3's step by its parts, and other systems with
// the same constants.
#include <cmath>
#include <cstdio>
#include <ctime>

#include "published_systems.h"
#include "scheduler/plan/search.h"

using namespace weft;

namespace {

void show(const runtime::Published& p) {
  const char* verdict = p.tolerance <= 0                     ? "(no promise)"
                        : std::abs(p.error()) <= p.tolerance ? "ok"
                                                             : "MISSED";
  std::printf("%-50s %-30s %9.4g %9.4g %-2s %+6.1f %%  %4.0f %%  %-12s  %s\n", p.system.c_str(),
              p.what.c_str(), p.published, p.predicted, p.unit.c_str(), 100 * p.error(),
              100 * p.tolerance, verdict, p.source.c_str());
}

}  // namespace

int main() {
  std::printf("%-50s %-30s %9s %9s %-2s %8s  %6s\n", "SYSTEM", "WHAT", "PUBLISHED", "PREDICTED", "",
              "ERROR", "MOST");
  for (const runtime::Published& p : runtime::v3_on_h800()) show(p);
  for (const runtime::Published& p : runtime::other_systems()) show(p);
  std::printf(
      "\nCalibrated on: mean kernel times of deepseek-ai/profile-data train.json. Not used: "
      "any figure above.\n");
  const auto work = runtime::v3_work();
  const auto cluster = runtime::shipped_cluster("h800-2048");
  const auto without = [&](double variation, double straggler) {
    scheduler::TimeAssumptions a;
    a.load_variation = variation;
    a.straggler = straggler;
    return scheduler::step_time(work, cluster, a)->total;
  };
  const scheduler::TimeAssumptions a;
  std::printf(
      "What the two assumptions are worth: the step is %.2f s with routing perfectly "
      "balanced, %.2f s without a slowest GPU, %.2f s without both\n",
      without(0, a.straggler), without(a.load_variation, 1), without(0, 1));
  const std::clock_t begin = std::clock();
  const auto result = scheduler::search(work, cluster);
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  std::printf("Search over %d layouts of 2,048 GPUs: %.2f s of processor time (most: 2 s)\n",
              result ? result->considered : 0, seconds);
  return 0;
}
