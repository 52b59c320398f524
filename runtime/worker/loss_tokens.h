// The tokens of a micro-batch that have a loss.
#pragma once

#include "trainer/batch.h"

namespace weft::runtime {

/// visit(sequence of the micro-batch, token), ascending.
template <class Visit>
void each_loss_token(const trainer::MicroBatch& batch, const Visit& visit) {
  for (int s = 0; s < batch.num_sequences(); ++s)
    for (int t = batch.sequence_begin[s]; t < batch.sequence_begin[s + 1]; ++t)
      if (batch.targets[t] >= 0) visit(s, t);
}

}  // namespace weft::runtime
