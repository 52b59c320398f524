#include "trainer/tokenizer/merges.h"

#include <array>
#include <bit>
#include <queue>

#include "base/check.h"

namespace weft::trainer::tokenizer {
namespace {

constexpr std::size_t kScanMax = 64;  // longer pieces are rare, and quadratic time would show

std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

}  // namespace

const Merges::Rule Merges::kNoRule;

Merges::Merges(std::size_t count)
    : slots_(std::bit_ceil(count * 2 + 2)), shift_(64 - std::countr_zero(slots_.size())) {}

const Merges::Rule& Merges::find(std::int32_t left, std::int32_t right) const {
  const std::uint64_t pair = pair_of(left, right);
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = pair * 0x9e3779b97f4a7c15u >> shift_;
  while (slots_[slot].pair != pair) {
    if (slots_[slot].pair == kEmpty) return kNoRule;
    slot = (slot + 1) & mask;
  }
  return slots_[slot];
}

bool Merges::add(std::int32_t left, std::int32_t right, std::int32_t result) {
  if (find(left, right).rank != kNone) return false;
  WEFT_CHECK((static_cast<std::size_t>(num_rules_) + 1) * 2 <= slots_.size(), "more than reserved");
  const std::uint64_t pair = pair_of(left, right);
  std::size_t slot = pair * 0x9e3779b97f4a7c15u >> shift_;
  while (slots_[slot].pair != kEmpty) slot = (slot + 1) & (slots_.size() - 1);
  slots_[slot] = {pair, num_rules_++, result};
  return true;
}

void Merges::apply(std::vector<std::int32_t>& ids) const {
  if (ids.size() < 2) return;
  ids.size() <= kScanMax ? apply_scanning(ids) : apply_queued(ids);
}

/// Keeps the rule of every neighbouring pair and looks for the best one again each time.
void Merges::apply_scanning(std::vector<std::int32_t>& ids) const {
  std::array<Rule, kScanMax> rules;
  std::size_t n = ids.size();
  for (std::size_t i = 0; i + 1 < n; ++i) rules[i] = find(ids[i], ids[i + 1]);
  for (;;) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < n; ++i)
      if (rules[i].rank < rules[best].rank) best = i;
    if (n < 2 || rules[best].rank == kNone) break;
    ids[best] = rules[best].result;
    for (std::size_t i = best + 1; i + 1 < n; ++i) ids[i] = ids[i + 1];
    --n;
    for (std::size_t i = best + 1; i + 1 < n; ++i) rules[i] = rules[i + 1];
    if (best + 1 < n) rules[best] = find(ids[best], ids[best + 1]);
    if (best > 0) rules[best - 1] = find(ids[best - 1], ids[best]);
  }
  ids.resize(n);
}

/// A queue of pairs over a linked list; pairs that are no longer there are skipped when they come.
void Merges::apply_queued(std::vector<std::int32_t>& ids) const {
  struct Link {
    std::int32_t previous, next;
  };
  struct Waiting {
    std::int32_t rank, at, left, right, result;
    bool operator<(const Waiting& other) const {  // the queue's top is its largest
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  const auto n = static_cast<std::int32_t>(ids.size());
  std::vector<Link> links(ids.size());
  std::priority_queue<Waiting> queue;
  const auto id = [&](std::int32_t at) -> std::int32_t& {
    return ids[static_cast<std::size_t>(at)];
  };
  const auto link = [&](std::int32_t at) -> Link& { return links[static_cast<std::size_t>(at)]; };
  const auto push = [&](std::int32_t at) {
    const std::int32_t next = link(at).next;
    if (next == n) return;
    if (const Rule& rule = find(id(at), id(next)); rule.rank != kNone)
      queue.push({rule.rank, at, id(at), id(next), rule.result});
  };
  for (std::int32_t i = 0; i < n; ++i) link(i) = {i - 1, i + 1};
  for (std::int32_t i = 0; i < n; ++i) push(i);
  while (!queue.empty()) {
    const Waiting top = queue.top();
    queue.pop();
    const std::int32_t next = link(top.at).next;
    if (id(top.at) != top.left || next == n || id(next) != top.right) continue;
    id(top.at) = top.result;
    id(next) = -1;  // no token: what waited for it is stale
    link(top.at).next = link(next).next;
    if (link(next).next != n) link(link(next).next).previous = top.at;
    push(top.at);
    if (link(top.at).previous >= 0) push(link(top.at).previous);
  }
  std::erase(ids, -1);
}

}  // namespace weft::trainer::tokenizer
