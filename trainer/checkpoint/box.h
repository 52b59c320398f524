// Boxes of tensors: how pieces lie in a global shape. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/expected.h"

namespace weft::trainer::checkpoint {

using Shape = std::vector<std::int64_t>;

/// The elements with offset[d] <= index[d] < offset[d] + shape[d] in every dim d.
struct Box {
  Shape offset;
  Shape shape;
  friend bool operator==(const Box&, const Box&) = default;
};

inline constexpr std::size_t kDimsMax = 16;
inline constexpr std::size_t kPiecesMax = 16384;  // of one tensor; bounds the coverage proof

/// "[2, 3]"
std::string to_string(const Shape& shape);

/// Number of elements; 1 for a scalar. Errors: Corrupt for a negative size, more than kDimsMax
/// dims, or a product above 2^62 (zeros do not hide an overflow of the other sizes).
Expected<std::uint64_t> num_elements(const Shape& shape);

/// Every element of `global` lies in exactly one box. An empty tensor is covered by exactly one
/// empty box; a box without elements has no place in any other.
/// Errors: Corrupt, naming the first element (in row-major order of slabs) that no box or two boxes
/// hold, or the box that leaves the shape.
Expected<void> check_coverage(const Shape& global, std::span<const Box> boxes);

/// Copies a box's elements (row-major, `element_bytes` each) to their place in the whole tensor.
/// The box must lie inside `global`.
void scatter(const Shape& global, const Box& box, const std::byte* from, std::byte* whole,
             std::size_t element_bytes);

}  // namespace weft::trainer::checkpoint
