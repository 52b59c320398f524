#include "trainer/model/arena.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

namespace weft::trainer {

std::pair<std::size_t, std::size_t> Arena::shelf_of(std::size_t n) {
  if (n <= kSmallest) return {0, kSmallest};
  const auto octave = static_cast<std::size_t>(std::bit_width(n - 1));  // 2^(octave-1) < n
  const std::size_t step = (std::size_t{1} << octave) / (2 * kSteps);
  const std::size_t count = (n + step - 1) / step;  // kSteps + 1 .. 2 * kSteps
  return {1 + (octave - 9) * kSteps + count - kSteps - 1, count * step};
}

Arena::Block Arena::take(std::size_t n) {
  const auto [index, size] = shelf_of(n);
  WEFT_CHECK(index + kSteps < shelves_.size(), "a buffer of " + std::to_string(n) + " bytes");
  Block block;
  for (std::size_t i = index; i <= index + kSteps && block.data == nullptr; ++i) {
    if (shelves_[i].free.empty()) continue;
    block = shelves_[i].free.back();
    shelves_[i].free.pop_back();
  }
  if (block.data == nullptr) {
    memory_.emplace_back(size);
    block = {memory_.back().data(), size, n};
    shelves_[index].free.reserve(++shelves_[index].blocks);
    reserved_ += size;
  }
  ASAN_UNPOISON_MEMORY_REGION(block.data, block.size);
  block.asked = n;
  taken_ += n;
  peak_taken_ = std::max(peak_taken_, taken_);
  charge(n);
  return block;
}

void Arena::give(Block block) {
  ASAN_POISON_MEMORY_REGION(block.data, block.size);
  discharge(block.asked);
  taken_ -= block.asked;
  shelves_[shelf_of(block.size).first].free.push_back(block);
}

void Arena::charge(std::size_t bytes) {
  live_ += bytes;
  peak_ = std::max(peak_, live_);
}

}  // namespace weft::trainer
