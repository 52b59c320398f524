// Token ids and their bytes, both ways, in three flat arrays.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weft::trainer::tokenizer {

/// Ids are 0..size()-1. Threads: any while nobody adds.
class Vocabulary {
 public:
  /// Gives the next id to `bytes`. A findable token is one that text can become by merging; of two
  /// with the same bytes, the first is found.
  void add(std::string_view bytes, bool findable);
  /// Call once after the last add().
  void build_index();

  int size() const { return static_cast<int>(begin_.size()) - 1; }
  std::string_view bytes(std::int32_t id) const {
    const auto i = static_cast<std::size_t>(id);
    return std::string_view(arena_).substr(begin_[i], begin_[i + 1] - begin_[i]);
  }
  /// The findable token that is exactly these bytes, or -1.
  std::int32_t find(std::string_view bytes) const;

 private:
  std::string arena_;
  std::vector<std::uint32_t> begin_ = {0};
  std::vector<bool> findable_;
  std::vector<std::int32_t> slots_;  // open addressing; -1: empty
};

}  // namespace weft::trainer::tokenizer
