// What a CPU worker's expert exchange keeps (comm/exchange, one hop), buffer by buffer.
#pragma once

#include "scheduler/work.h"

namespace weft::scheduler {

/// Rows that a rank gets in one exchange: a token of any rank of the group comes once, however many
/// of this rank's experts it goes to. Every expert, and every group of them, is chosen as often.
double received_rows(const Work& work);

/// `imbalance`: rows of the busiest rank over the mean.
struct ExchangeBytes {
  double layout = 0;    // of a micro-batch and block between dispatch and its last weight gradient
  double messages = 0;  // of one exchange under way
  double encoded = 0;   // rows as they travel, where that is not F32
  double replicas = 0;  // messages and sums of rollout's own, where experts have replicas
};
ExchangeBytes exchange_bytes(const Work& work, double imbalance);

}  // namespace weft::scheduler
