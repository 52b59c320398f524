#include "trainer/checkpoint/box.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace weft::trainer::checkpoint {
namespace {

using Indices = std::vector<std::size_t>;

std::string box_text(std::size_t index, const Box& box) {
  return "piece " + std::to_string(index) + " (offset " + to_string(box.offset) + ", shape " +
         to_string(box.shape) + ")";
}

Expected<void> check_inside(const Shape& global, const Box& box, std::size_t index) {
  bool inside = box.offset.size() == global.size() && box.shape.size() == global.size();
  for (std::size_t d = 0; inside && d < global.size(); ++d)
    inside = box.offset[d] >= 0 && box.shape[d] >= 0 && box.offset[d] <= global[d] &&
             box.shape[d] <= global[d] - box.offset[d];
  if (!inside)
    return fail(Code::Corrupt,
                box_text(index, box) + " does not lie in the shape " + to_string(global));
  return {};
}

/// Cuts dim `point.size()` into slabs between the boxes' edges and proves each slab one dim down;
/// past the last dim exactly one box may be left. `point`: the lower corner of the slabs so far.
class Prover {
 public:
  Prover(const Shape& global, std::span<const Box> boxes) : global_(global), boxes_(boxes) {}

  Expected<void> prove(const Indices& alive, Shape& point) {
    const std::size_t dim = point.size();
    work_ += 1 + alive.size();
    if (work_ > kWorkMax)
      return fail(Code::Corrupt, "cut into pieces too crooked to check: " +
                                     std::to_string(boxes_.size()) + " of them");
    if (alive.empty())
      return fail(Code::Corrupt, "a hole: no piece holds the element at " + first_of(point));
    if (dim == global_.size()) {
      if (alive.size() == 1) return {};
      return fail(Code::Corrupt, "an overlap: the element at " + first_of(point) + " lies in " +
                                     box_text(alive[0], boxes_[alive[0]]) + " and " +
                                     box_text(alive[1], boxes_[alive[1]]));
    }
    Indices waiting = alive;
    std::stable_sort(waiting.begin(), waiting.end(),
                     [&](std::size_t a, std::size_t b) { return begin(a, dim) < begin(b, dim); });
    std::size_t next = 0;
    Indices inside;
    for (std::int64_t at = 0; at < global_[dim];) {
      std::erase_if(inside, [&](std::size_t i) { return end(i, dim) <= at; });
      while (next < waiting.size() && begin(waiting[next], dim) == at)
        inside.push_back(waiting[next++]);
      point.push_back(at);
      WEFT_TRY(prove(inside, point));
      point.pop_back();
      std::int64_t cut = next < waiting.size() ? begin(waiting[next], dim) : global_[dim];
      for (const std::size_t i : inside) cut = std::min(cut, end(i, dim));
      at = cut;
    }
    return {};
  }

 private:
  std::int64_t begin(std::size_t i, std::size_t dim) const { return boxes_[i].offset[dim]; }
  std::int64_t end(std::size_t i, std::size_t dim) const {
    return boxes_[i].offset[dim] + boxes_[i].shape[dim];
  }
  std::string first_of(Shape point) const {
    point.resize(global_.size(), 0);
    return to_string(point);
  }

  // Boxes from an enemy can share slabs in every dim and make the proof take n^dims steps; those
  // of a sharded model need some n log n.
  static constexpr std::size_t kWorkMax = std::size_t{1} << 22;

  const Shape& global_;
  std::span<const Box> boxes_;
  std::size_t work_ = 0;
};

}  // namespace

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t d = 0; d < shape.size(); ++d) text += (d ? ", " : "") + std::to_string(shape[d]);
  return text + "]";
}

Expected<std::uint64_t> num_elements(const Shape& shape) {
  if (shape.size() > kDimsMax)
    return fail(Code::Corrupt, "a shape has " + std::to_string(shape.size()) + " dims, more than " +
                                   std::to_string(kDimsMax));
  std::int64_t product = 1;
  bool empty = false;
  for (const std::int64_t size : shape) {
    if (size < 0)
      return fail(Code::Corrupt, "the shape " + to_string(shape) + " has a negative size");
    empty |= size == 0;
    if (size > 0 && product > (std::int64_t{1} << 62) / size)
      return fail(Code::Corrupt, "the shape " + to_string(shape) + " has more than 2^62 elements");
    if (size > 0) product *= size;
  }
  return empty ? 0 : static_cast<std::uint64_t>(product);
}

Expected<void> check_coverage(const Shape& global, std::span<const Box> boxes) {
  WEFT_TRY_ASSIGN(const std::uint64_t total, num_elements(global));
  if (boxes.size() > kPiecesMax)
    return fail(Code::Corrupt, "more than " + std::to_string(kPiecesMax) + " pieces");
  if (boxes.empty()) return fail(Code::Corrupt, "a hole: there is no piece at all");
  for (std::size_t i = 0; i < boxes.size(); ++i) WEFT_TRY(check_inside(global, boxes[i], i));
  if (total == 0) {
    if (boxes.size() == 1 && boxes[0].shape == global) return {};
    return fail(Code::Corrupt, "an empty tensor must have exactly one piece, of its own shape");
  }
  for (std::size_t i = 0; i < boxes.size(); ++i)
    if (*num_elements(boxes[i].shape) == 0)
      return fail(Code::Corrupt, box_text(i, boxes[i]) + " holds no element");
  Indices all(boxes.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  Shape point;
  return Prover(global, boxes).prove(all, point);
}

void scatter(const Shape& global, const Box& box, const std::byte* from, std::byte* whole,
             std::size_t element_bytes) {
  const std::size_t dims = global.size();
  if (dims == 0) {
    std::memcpy(whole, from, element_bytes);
    return;
  }
  if (*num_elements(box.shape) == 0) return;
  const std::size_t row_bytes = static_cast<std::size_t>(box.shape[dims - 1]) * element_bytes;
  Shape index(dims, 0);  // inside the box; the last dim moves as one row
  for (;;) {
    std::size_t at = 0;
    for (std::size_t d = 0; d < dims; ++d)
      at = at * static_cast<std::size_t>(global[d]) +
           static_cast<std::size_t>(box.offset[d] + index[d]);
    std::memcpy(whole + at * element_bytes, from, row_bytes);
    from += row_bytes;
    std::size_t d = dims - 1;
    while (d > 0 && ++index[d - 1] == box.shape[d - 1]) index[--d] = 0;
    if (d == 0) return;
  }
}

}  // namespace weft::trainer::checkpoint
