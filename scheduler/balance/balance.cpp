#include "scheduler/balance/balance.h"

#include "scheduler/balance/even_search.h"
#include "scheduler/balance/migration.h"
#include "scheduler/balance/parts.h"
#include "scheduler/balance/published.h"
#include "scheduler/balance/shares.h"

namespace weft::scheduler {
namespace {

// Sums of the same loads in another order.
constexpr double kRounding = 1e-12;

}  // namespace

Expected<LayerReplicas> balance_layer(std::span<const double> load, const ExpertGrid& grid,
                                      const BalanceOptions& options, const LayerReplicas* current) {
  WEFT_TRY(check_grid(grid, options.policy));
  WEFT_TRY(check_load(load, grid));
  if (current != nullptr && std::ssize(current->expert_of) != grid.replicas)
    return fail(Code::InvalidArgument, "the current placement has " +
                                           std::to_string(current->expert_of.size()) +
                                           " slots, not " + std::to_string(grid.replicas));
  const std::vector<float> narrow(load.begin(), load.end());
  const LayerReplicas published = with_even_shares(published_placement(narrow, grid), grid.experts);
  if (options.policy == BalancePolicy::Published) return published;

  const double limit = busiest_gpu(published, load, grid) * (1 + kRounding);
  LayerReplicas best = best_even_placement(published, limit, load, grid);
  if (current != nullptr)
    best = nearest_good(*current, best, options.migration_tolerance, limit, load, grid);
  even_out(best, load, grid);
  if (busiest_gpu(best, load, grid) <= limit) return best;
  // Twins can be a real help when shares are even; with uneven ones nobody needs them.
  LayerReplicas parted = published;
  part_twins(parted, grid);
  if (current != nullptr) parted = renamed(parted, *current, grid);
  even_out(parted, load, grid);
  return parted;
}

Expected<BalancePolicy> parse_balance_policy(std::string_view text) {
  if (text == "best") return BalancePolicy::Best;
  if (text == "published") return BalancePolicy::Published;
  return fail(Code::InvalidArgument,
              "'" + std::string(text) + "' is no balancing policy; there are best and published");
}

}  // namespace weft::scheduler
