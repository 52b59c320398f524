#include "trainer/tokenizer/vocabulary.h"

#include <xxhash.h>

#include <bit>

namespace weft::trainer::tokenizer {
namespace {

std::size_t hash(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

}  // namespace

void Vocabulary::add(std::string_view bytes, bool findable) {
  arena_ += bytes;
  begin_.push_back(static_cast<std::uint32_t>(arena_.size()));
  findable_.push_back(findable);
}

void Vocabulary::build_index() {
  arena_.shrink_to_fit();
  slots_.assign(std::bit_ceil(static_cast<std::size_t>(size()) * 2 + 2), -1);
  const std::size_t mask = slots_.size() - 1;
  for (std::int32_t id = 0; id < size(); ++id) {
    if (!findable_[static_cast<std::size_t>(id)] || find(bytes(id)) >= 0) continue;
    std::size_t slot = hash(bytes(id)) & mask;
    while (slots_[slot] >= 0) slot = (slot + 1) & mask;
    slots_[slot] = id;
  }
}

std::int32_t Vocabulary::find(std::string_view bytes_wanted) const {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t slot = hash(bytes_wanted) & mask; slots_[slot] >= 0; slot = (slot + 1) & mask)
    if (bytes(slots_[slot]) == bytes_wanted) return slots_[slot];
  return -1;
}

}  // namespace weft::trainer::tokenizer
