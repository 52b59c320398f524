// Which two tokens become one, and in which order: the whole of byte-pair encoding.
#pragma once

#include <cstdint>
#include <vector>

namespace weft::trainer::tokenizer {

/// Threads: any while nobody adds.
class Merges {
 public:
  /// Room for `count` rules. Call once, before the first add().
  explicit Merges(std::size_t count = 0);

  /// The next rule in rank. False: there is one for this pair already.
  bool add(std::int32_t left, std::int32_t right, std::int32_t result);

  /// Applies the rules to `ids` in place: always the rule of the lowest rank, of equals the
  /// leftmost, until none applies. O(n^2) for short inputs, O(n log n) for long ones.
  void apply(std::vector<std::int32_t>& ids) const;

  std::int32_t size() const { return num_rules_; }

 private:
  struct Rule {
    std::uint64_t pair = kEmpty;
    std::int32_t rank = kNone, result = 0;
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  static constexpr std::int32_t kNone = INT32_MAX;
  static const Rule kNoRule;

  const Rule& find(std::int32_t left, std::int32_t right) const;
  void apply_scanning(std::vector<std::int32_t>& ids) const;
  void apply_queued(std::vector<std::int32_t>& ids) const;

  std::vector<Rule> slots_;  // open addressing, at most half full
  int shift_ = 0;
  std::int32_t num_rules_ = 0;
};

}  // namespace weft::trainer::tokenizer
