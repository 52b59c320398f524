// Which experts a token goes to: sigmoid scores, a selection bias that balances load, and a limit
// on how many expert groups a token may touch.
// Source: DeepSeek-V3 report, section 2.1.2; model.py, Gate; topk_method noaux_tc.
#pragma once

#include <cstdint>

#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

struct RouterShape {
  int experts = 0;
  int top_k = 0;
  int groups = 1;      // of equal size
  int top_groups = 1;  // groups that may be chosen from
  bool normalize = true;
  Real scaling = 1;
};

/// logits: [rows, experts]. Leaves sigmoid scores [rows, experts], the chosen experts [rows, top_k]
/// in ascending order, and their gate weights [rows, top_k].
/// A group's score is the sum of its two best biased scores; the best groups, then the best biased
/// scores inside them are chosen, ties to the lower index. Weights are the unbiased scores,
/// divided by their sum if `normalize`, times `scaling`.
void router_forward(Context& context, const RouterShape& shape, const Real* logits,
                    const Real* bias, int rows, Real* scores, std::int32_t* chosen, Real* weights);

/// Scores and weights of the same call again, for the experts that were chosen then: the same bits.
void router_again(Context& context, const RouterShape& shape, const Real* logits, const Real* bias,
                  int rows, Real* scores, const std::int32_t* chosen, Real* weights);

/// d_logits [rows, experts] from d_weights [rows, top_k]; zero for experts not chosen. Act: Real or
/// Bf16, for the products that read them.
template <class Act>
void router_backward(Context& context, const RouterShape& shape, const Real* d_weights,
                     const Real* scores, const std::int32_t* chosen, int rows, Act* d_logits);

}  // namespace weft::trainer::kernels
