#include "comm/local/slab.h"

#include <sys/mman.h>

#include <algorithm>
#include <iterator>

namespace weft::comm {
namespace {

constexpr std::size_t kPage = 4096;

std::size_t whole_pages(std::size_t bytes) {
  return std::max(kPage, (bytes + kPage - 1) / kPage * kPage);
}

}  // namespace

Slab::Slab(std::byte* begin, std::size_t bytes) : begin_(begin), bytes_(bytes) {
  if (bytes > 0) free_[0] = bytes;
}

std::byte* Slab::take(std::size_t bytes) {
  if (bytes > bytes_) return nullptr;
  const std::size_t length = whole_pages(bytes);
  for (auto at = free_.begin(); at != free_.end(); ++at) {
    const auto [offset, room] = *at;
    if (room < length) continue;
    free_.erase(at);
    if (room > length) free_[offset + length] = room - length;
    return begin_ + offset;
  }
  return nullptr;
}

void Slab::give_back(std::byte* memory, std::size_t bytes) {
  auto offset = static_cast<std::size_t>(memory - begin_);
  std::size_t length = whole_pages(bytes);
  ::madvise(memory, length, MADV_REMOVE);
  auto next = free_.lower_bound(offset);
  if (next != free_.end() && next->first == offset + length) {
    length += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += length;
      return;
    }
  }
  free_[offset] = length;
}

}  // namespace weft::comm
