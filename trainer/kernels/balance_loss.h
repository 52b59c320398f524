// The sequence-wise balance loss of a router: for one sequence of T tokens
//   sum over experts e of f_e P_e,
//   f_e = experts / (top_k T) * tokens whose top_k highest scores include e,
//   P_e = mean over tokens of e's share of the token's scores.
// It is 1 when both are even. Scores are those before the selection bias and without the limit on
// groups, as in the report's formulas; f is a count and has no gradient.
// Source: DeepSeek-V3 report, section 2.1.2, formulas 17 to 20.
#pragma once

#include <cstdint>
#include <span>

#include "trainer/kernels/router.h"

namespace weft::trainer::kernels {

/// Sum over the sequences; tokens of sequence s are [sequence_begin[s], sequence_begin[s+1]).
/// scores: [tokens, experts], router_forward's.
double balance_loss(Context& context, const RouterShape& shape,
                    std::span<const std::int32_t> sequence_begin, const Real* scores);

/// Adds the gradient of weight * balance_loss to d_logits [tokens, experts].
void balance_loss_backward(Context& context, const RouterShape& shape,
                           std::span<const std::int32_t> sequence_begin, const Real* scores,
                           double weight, Real* d_logits);

}  // namespace weft::trainer::kernels
