// How the parts of a row that come back from several parties are added: one order, whatever way
// they came. Internal to comm.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace weft::comm {

/// What came back from one party: some rows of a table, ascending, and their values
/// [rows.size(), width].
template <class Real>
struct Parts {
  std::span<const std::int32_t> rows;
  const Real* values = nullptr;
};

/// Adds parts that lie in groups (nodes) of equally many parties (ranks): a row's sum is the sum
/// over the groups, ascending, of the group's sum over its parties, ascending. With one group, or
/// with groups of one, it is the plain ascending sum. Reuses its workspace.
template <class Real>
class PartSums {
 public:
  PartSums(std::size_t max_parties, std::size_t width)
      : cursor_(max_parties), inner_(width), outer_(width) {}

  /// out[row] += the row's sum, for rows 0..num_rows-1 of [num_rows, width]; rows without parts
  /// stay as they are.
  void add(std::span<const Parts<Real>> parties, std::size_t group_size, int num_rows, Real* out);
  /// out[row] = the row's sum; every row must have a part.
  void set(std::span<const Parts<Real>> parties, std::size_t group_size, int num_rows, Real* out);

 private:
  const Real* sum(std::span<const Parts<Real>> parties, std::size_t group_size, std::int32_t row);
  const Real* sum_group(std::span<const Parts<Real>> parties, std::size_t first, std::size_t count,
                        std::int32_t row);

  std::vector<std::size_t> cursor_;  // per party
  std::vector<Real> inner_, outer_;  // one row each
};

extern template class PartSums<float>;
extern template class PartSums<double>;

}  // namespace weft::comm
