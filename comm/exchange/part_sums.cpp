#include "comm/exchange/part_sums.h"

#include <algorithm>

namespace weft::comm {

/// The sum of one row over `count` parties, or null when none of them has it.
template <class Real>
const Real* PartSums<Real>::sum_group(std::span<const Parts<Real>> parties, std::size_t first,
                                      std::size_t count, std::int32_t row) {
  const std::size_t width = inner_.size();
  const Real* total = nullptr;
  for (std::size_t p = first; p < first + count; ++p) {
    std::size_t& at = cursor_[p];
    if (at == parties[p].rows.size() || parties[p].rows[at] != row) continue;
    const Real* const part = parties[p].values + at++ * width;
    if (total == nullptr) {
      total = part;
      continue;
    }
    for (std::size_t i = 0; i < width; ++i) inner_[i] = total[i] + part[i];
    total = inner_.data();
  }
  return total;
}

template <class Real>
const Real* PartSums<Real>::sum(std::span<const Parts<Real>> parties, std::size_t group_size,
                                std::int32_t row) {
  const std::size_t width = inner_.size();
  const Real* total = nullptr;
  for (std::size_t first = 0; first < parties.size(); first += group_size) {
    const Real* const part = sum_group(parties, first, group_size, row);
    if (part == nullptr) continue;
    if (total == nullptr) {
      total = part;
      if (total != inner_.data() || group_size == parties.size()) continue;
      std::copy_n(inner_.data(), width, outer_.data());  // the next group needs it
    } else {
      for (std::size_t i = 0; i < width; ++i) outer_[i] = total[i] + part[i];
    }
    total = outer_.data();
  }
  return total;
}

template <class Real>
void PartSums<Real>::add(std::span<const Parts<Real>> parties, std::size_t group_size, int num_rows,
                         Real* out) {
  std::fill(cursor_.begin(), cursor_.end(), 0);
  const std::size_t width = inner_.size();
  for (std::int32_t row = 0; row < num_rows; ++row, out += width) {
    const Real* const total = sum(parties, group_size, row);
    if (total == nullptr) continue;
    for (std::size_t i = 0; i < width; ++i) out[i] += total[i];
  }
}

template <class Real>
void PartSums<Real>::set(std::span<const Parts<Real>> parties, std::size_t group_size, int num_rows,
                         Real* out) {
  std::fill(cursor_.begin(), cursor_.end(), 0);
  const std::size_t width = inner_.size();
  for (std::int32_t row = 0; row < num_rows; ++row, out += width)
    if (const Real* const total = sum(parties, group_size, row)) std::copy_n(total, width, out);
}

template class PartSums<float>;
template class PartSums<double>;

}  // namespace weft::comm
