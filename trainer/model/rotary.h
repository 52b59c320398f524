// Rotary positions of a model: how fast each pair turns, and by how much YaRN stretches them.
// Independent of Real; kernels/rope.h has the tables.
#pragma once

#include <vector>

#include "trainer/model/config.h"

namespace weft::trainer {

/// How many elements of a query or key turn: the rotary part of latent attention (the decoupled
/// key's), or a whole head of grouped-query attention.
int rotary_dim(const ModelConfig& config);

/// Radians a position of pair i, for i < rotary_dim / 2.
/// Without YaRN theta^(-2i / dim). With it, pairs that turn at least beta_fast times within the
/// original context keep that, pairs that turn at most beta_slow times are slowed down by the
/// factor, and between the two a ramp over the pairs' indices mixes both.
/// Source: YaRN (arXiv 2309.00071) section 3.2; DeepSeek-V3 model.py, precompute_freqs_cis.
std::vector<double> rotary_frequencies(const ModelConfig& config);

/// What rotated queries and keys are multiplied by: 1 without YaRN, and where mscale and
/// mscale_all_dim are equal, as in DeepSeek-V3.
double rotary_scale(const ModelConfig& config);

/// What products of queries and keys are multiplied by before the softmax: 1 / sqrt(width of a
/// query), with YaRN times (0.1 mscale_all_dim ln(factor) + 1)^2.
/// Source: DeepSeek-V3 model.py, MLA.
double softmax_scale(const ModelConfig& config);

}  // namespace weft::trainer
