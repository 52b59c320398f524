#include "scheduler/balance/gain.h"

#include <numeric>

namespace weft::scheduler {

Expected<BalanceGain> balance_gain(std::span<const std::vector<double>> loads, int groups,
                                   int nodes, int gpus) {
  BalanceGain gain;
  if (loads.empty()) return gain;
  const int experts = static_cast<int>(loads[0].size());
  const ExpertGrid plain{experts, experts, groups, nodes, gpus};
  const ExpertGrid grid{experts, experts + gpus, groups, nodes, gpus};
  WEFT_TRY(check_grid(plain));
  std::vector<int> in_order(experts);
  std::iota(in_order.begin(), in_order.end(), 0);
  WEFT_TRY_ASSIGN(const LayerReplicas now, layer_from_slots(in_order, plain));
  gain.before = gain.after = 0;
  for (std::size_t layer = 0; layer < loads.size(); ++layer) {
    WEFT_TRY_ASSIGN(const LayerReplicas better, balance_layer(loads[layer], grid));
    const double before = imbalance(now, loads[layer], plain);
    gain.before += before;
    gain.after += imbalance(better, loads[layer], grid);
    if (before <= gain.worst_before) continue;
    gain.worst_before = before;
    gain.worst_layer = static_cast<int>(layer);
  }
  gain.before /= static_cast<double>(loads.size());
  gain.after /= static_cast<double>(loads.size());
  return gain;
}

}  // namespace weft::scheduler
