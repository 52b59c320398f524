#include "trainer/checkpoint/difference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>

namespace weft::trainer::checkpoint {
namespace {

bool same_promise(const TensorEntry& a, const TensorEntry& b) {
  return a.shape == b.shape && a.dtype == b.dtype && a.pieces.size() == 1 && b.pieces.size() == 1 &&
         a.pieces[0].hash == b.pieces[0].hash;
}

bool is_number(Dtype dtype) { return dtype == Dtype::F32 || dtype == Dtype::BF16; }

void compare(const std::vector<float>& a, const std::vector<float>& b, TensorDifference& out) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(float)) == 0) continue;
    ++out.different;
    const double x = a[i], y = b[i], by = std::abs(x - y);
    if (!std::isfinite(by)) {
      out.max_absolute = out.max_relative = std::numeric_limits<double>::infinity();
      continue;
    }
    out.max_absolute = std::max(out.max_absolute, by);
    if (by > 0)
      out.max_relative = std::max(out.max_relative, by / std::max(std::abs(x), std::abs(y)));
  }
}

Expected<TensorDifference> compare(Reader& a, Reader& b, const TensorEntry& of_a,
                                   const TensorEntry& of_b) {
  TensorDifference out{of_a.item, of_a.name, "", *num_elements(of_a.shape), 0, 0, 0};
  if (of_a.shape != of_b.shape) {
    out.what = "shapes " + to_string(of_a.shape) + " and " + to_string(of_b.shape);
    return out;
  }
  if (is_number(of_a.dtype) && is_number(of_b.dtype)) {
    std::vector<float> x(out.elements), y(out.elements);
    WEFT_TRY(a.read(of_a.item, of_a.name, std::span(x)));
    WEFT_TRY(b.read(of_b.item, of_b.name, std::span(y)));
    compare(x, y, out);
  } else if (of_a.dtype == of_b.dtype) {
    std::vector<std::byte> x(out.elements * bytes_of(of_a.dtype)), y(x.size());
    WEFT_TRY(a.read_bytes(of_a, x));
    WEFT_TRY(b.read_bytes(of_b, y));
    if (x != y) out.what = "other bytes";
  }
  if (of_a.dtype != of_b.dtype && out.what.empty())
    out.what = std::string(to_string(of_a.dtype)) + " and " + std::string(to_string(of_b.dtype));
  return out;
}

}  // namespace

Expected<std::vector<TensorDifference>> differences(Reader& a, Reader& b) {
  std::vector<TensorDifference> found;
  const std::vector<TensorEntry>&left = a.manifest().tensors, &right = b.manifest().tensors;
  const auto key = [](const TensorEntry& t) { return std::tie(t.item, t.name); };
  for (std::size_t i = 0, j = 0; i < left.size() || j < right.size();) {
    const bool only_left = j == right.size() || (i < left.size() && key(left[i]) < key(right[j]));
    const bool only_right = !only_left && (i == left.size() || key(right[j]) < key(left[i]));
    if (only_left || only_right) {
      const TensorEntry& one = only_left ? left[i++] : right[j++];
      found.push_back({one.item, one.name, only_left ? "only in the first" : "only in the second",
                       *num_elements(one.shape), 0, 0, 0});
      continue;
    }
    const TensorEntry &of_a = left[i++], &of_b = right[j++];
    if (same_promise(of_a, of_b)) continue;
    WEFT_TRY_ASSIGN(TensorDifference difference, compare(a, b, of_a, of_b));
    if (difference.different > 0 || !difference.what.empty())
      found.push_back(std::move(difference));
  }
  return found;
}

}  // namespace weft::trainer::checkpoint
