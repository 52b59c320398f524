#include "dualpipe/waits.h"

#include <algorithm>
#include <deque>
#include <map>
#include <tuple>

#include "dualpipe/waits_needs.h"

namespace weft::dualpipe {
namespace {

/// Of ranks that need each other: whom to blame, and who waits for those.
class Finder {
 public:
  Finder(const std::vector<Standing>& standings, std::vector<std::vector<Wait>> edges)
      : standings_(standings), edges_(std::move(edges)) {}

  Diagnosis run() {
    find_roots();
    find_cycles();
    Diagnosis diagnosis;
    diagnosis.chain = chain();
    for (const auto& [rank, why] : blamed_) {
      const int waiters = waiters_[static_cast<std::size_t>(rank)];
      // Who works and keeps nobody waiting is no culprit.
      if (waiters == 0 && (why == Culprit::Why::Works || why == Culprit::Why::Unknown)) continue;
      diagnosis.culprits.push_back({rank, why, waiters});
    }
    std::ranges::stable_sort(diagnosis.culprits, [&](const Culprit& a, const Culprit& b) {
      return order(a) < order(b);
    });
    return diagnosis;
  }

 private:
  using Why = Culprit::Why;
  const Standing& at(int rank) const { return standings_[static_cast<std::size_t>(rank)]; }
  const std::vector<Wait>& edges(int rank) const { return edges_[static_cast<std::size_t>(rank)]; }
  int num_ranks() const { return static_cast<int>(standings_.size()); }
  /// Says that it waits; with no need left, for what is there.
  bool waits(int rank) const {
    const Here::Doing doing = at(rank).here.doing;
    return doing != Here::Doing::Idle && doing != Here::Doing::Works;
  }
  std::tuple<bool, bool, int, std::int64_t, int> order(const Culprit& one) const {
    const bool sure = one.why == Why::Stopped || one.why == Why::Gone;
    return {!sure, at(one.rank).moving, -one.waiters, -at(one.rank).age_ns, one.rank};
  }

  bool held(int rank) {
    return std::ranges::any_of(edges(rank), [](const Wait& wait) { return !wait.ready; });
  }

  void find_roots() {
    // Of those that wait for nothing undone: who waits for nothing at all, and who is explained by
    // such a one (its message is under way, and that one does not move it).
    std::vector<char> root(standings_.size(), 0);
    for (int rank = 0; rank < num_ranks(); ++rank) {
      if (!edges(rank).empty()) continue;
      root[static_cast<std::size_t>(rank)] = 1;
      blamed_[rank] = at(rank).process == Standing::Process::Stopped ? Why::Stopped
                      : at(rank).process == Standing::Process::Gone  ? Why::Gone
                      : !at(rank).known                              ? Why::Unknown
                      : waits(rank)                                  ? Why::Stands
                                                                     : Why::Works;
    }
    for (bool changed = true; changed;) {
      changed = false;
      for (int rank = 0; rank < num_ranks(); ++rank) {
        char& explained = root[static_cast<std::size_t>(rank)];
        if (explained || held(rank)) continue;
        explained = std::ranges::any_of(edges(rank), [&](const Wait& wait) {
          return root[static_cast<std::size_t>(wait.to)] != 0;
        });
        changed |= explained != 0;
      }
    }
    for (int rank = 0; rank < num_ranks(); ++rank)
      if (!root[static_cast<std::size_t>(rank)] && !held(rank)) blamed_[rank] = Why::Stands;
  }

  /// Ranks from which a blamed one can be reached.
  std::vector<char> reach() {
    std::vector<char> reaches(standings_.size(), 0);
    for (const auto& [rank, why] : blamed_) reaches[static_cast<std::size_t>(rank)] = 1;
    for (bool changed = true; changed;) {
      changed = false;
      for (int rank = 0; rank < num_ranks(); ++rank) {
        char& mine = reaches[static_cast<std::size_t>(rank)];
        for (const Wait& wait : edges(rank)) {
          if (mine || !reaches[static_cast<std::size_t>(wait.to)]) continue;
          mine = 1;
          changed = true;
        }
      }
    }
    return reaches;
  }

  void find_cycles() {
    for (;;) {
      const std::vector<char> reaches = reach();
      const auto lost = std::ranges::find(reaches, 0);
      if (lost == reaches.end()) return;
      // Whoever reaches no root waits for another of the kind: following them closes a loop.
      std::vector<int> walked;
      int rank = static_cast<int>(lost - reaches.begin());
      while (std::ranges::find(walked, rank) == walked.end()) {
        walked.push_back(rank);
        rank = edges(rank).front().to;
      }
      const std::vector<int> loop(std::ranges::find(walked, rank), walked.end());
      blamed_[std::ranges::max(loop, {}, [&](int r) { return at(r).age_ns; })] = Why::Cycle;
    }
  }

  /// From the culprits outward, each waiter with one wait that leads towards one of them.
  std::vector<Wait> chain() {
    waiters_.assign(standings_.size(), 0);
    std::vector<Wait> waits;
    std::vector<int> culprit_of(standings_.size(), -1);
    std::deque<int> next;
    for (const auto& [rank, why] : blamed_) {
      culprit_of[static_cast<std::size_t>(rank)] = rank;
      next.push_back(rank);
    }
    for (; !next.empty(); next.pop_front())
      for (int rank = 0; rank < num_ranks(); ++rank) {
        if (culprit_of[static_cast<std::size_t>(rank)] >= 0) continue;
        const auto wait = wait_for(rank, next.front());
        if (wait == nullptr) continue;
        const int culprit = culprit_of[static_cast<std::size_t>(next.front())];
        culprit_of[static_cast<std::size_t>(rank)] = culprit;
        ++waiters_[static_cast<std::size_t>(culprit)];
        waits.push_back(*wait);
        next.push_back(rank);
      }
    // Culprits may wait for each other as well.
    for (const auto& [rank, why] : blamed_)
      if (why == Why::Cycle) waiters_[static_cast<std::size_t>(rank)] += 1;
    return waits;
  }

  /// One that is not held by anything undone may wait for what is under way; else only undone
  /// counts.
  const Wait* wait_for(int rank, int to) {
    const bool undone_only = held(rank);
    for (const Wait& wait : edges(rank))
      if (wait.to == to && (!undone_only || !wait.ready)) return &wait;
    return nullptr;
  }

  const std::vector<Standing>& standings_;
  const std::vector<std::vector<Wait>> edges_;  // by rank: whom it needs
  std::map<int, Why> blamed_;
  std::vector<int> waiters_;
};

}  // namespace

Expected<Diagnosis> find_waits(const WaitsWorld& world, const std::vector<Standing>& standings) {
  WEFT_TRY_ASSIGN(auto needs, find_needs(world, standings));
  return Finder(standings, std::move(needs)).run();
}

}  // namespace weft::dualpipe
