// Rotary positions over interleaved pairs (2i, 2i+1), as DeepSeek-V3's model.py has them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

/// scale times cos and sin of position * frequency[i] for every position below `max_position`.
struct RopeTable {
  RopeTable(std::span<const double> frequency, int max_position, double scale = 1);
  /// frequency[i] = theta^(-2i / dim), unscaled.
  RopeTable(double theta, int dim, int max_position);
  int dim;
  int max_position;
  std::vector<Real> cos, sin;  // [max_position, dim / 2]
};

/// Rotates in place, in Real; Act: Real or Bf16; `inverse` rotates back, which is also the backward
/// pass. x: `rows` rows `ld` apart, in each `heads` vectors of table.dim elements, `ld_head` apart.
/// positions: [rows], each below table.max_position.
template <class Act>
void rope(Context& context, const RopeTable& table, const std::int32_t* positions, int rows,
          int heads, Act* x, int ld, int ld_head, bool inverse = false);

}  // namespace weft::trainer::kernels
