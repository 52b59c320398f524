#include "runtime/watch/stragglers.h"

#include <algorithm>
#include <cstdio>
#include <map>

namespace weft::runtime {
namespace {

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

void begin(StragglerState& state, std::size_t ranks) {
  state = {};
  state.times.resize(ranks);
  state.best.assign(ranks, 0);
  state.since.assign(ranks, -1);
}

std::vector<StragglerScore> score(StragglerState& state, std::span<const int> peers) {
  const std::size_t ranks = state.times.size();
  std::vector<double> own(ranks);
  std::map<int, std::pair<double, int>> groups;  // best median, members
  for (std::size_t r = 0; r < ranks; ++r) {
    own[r] = median(state.times[r]);
    auto [group, fresh] = groups.try_emplace(peers[r], own[r], 0);
    group->second.first = std::min(group->second.first, own[r]);
    ++group->second.second;
  }
  std::vector<StragglerScore> scores(ranks);
  for (std::size_t r = 0; r < ranks; ++r) {
    const auto& [best, members] = groups.at(peers[r]);
    if (members > 1) scores[r].relative = best / own[r];
    std::vector<double> by_work = state.times[r];
    for (std::size_t i = 0; i < by_work.size(); ++i) by_work[i] /= std::max(state.work[i], 1.0);
    const double present = median(std::move(by_work));
    if (state.best[r] == 0 || present < state.best[r]) state.best[r] = present;
    scores[r].individual = state.best[r] / present;
  }
  return scores;
}

}  // namespace

StragglerFinding watch_stragglers(StragglerState& state, long long step,
                                  std::span<const double> self, double work,
                                  std::span<const int> peers, const StragglerOptions& options) {
  StragglerFinding finding;
  if (std::ranges::any_of(self, [](double one) { return !(one > 0); })) return finding;
  if (state.times.size() != self.size()) begin(state, self.size());
  for (std::size_t r = 0; r < self.size(); ++r) state.times[r].push_back(self[r]);
  state.work.push_back(work);
  if (++state.steps < options.window) return finding;

  finding.scored = true;
  finding.scores = score(state, peers);
  for (std::size_t r = 0; r < self.size(); ++r) {
    const StragglerScore& one = finding.scores[r];
    const bool slow = std::min(one.relative, one.individual) < options.threshold;
    const bool was = state.since[r] >= 0;
    if (!slow && !was) continue;
    if (slow && !was) state.since[r] = step - options.window + 1;
    finding.changes.push_back({static_cast<int>(r), slow, one, state.since[r], slow && was});
    if (!slow) state.since[r] = -1;
  }
  for (std::vector<double>& times : state.times) times.clear();
  state.work.clear();
  state.steps = 0;
  return finding;
}

std::string describe(const StragglerChange& change, const StragglerOptions& options) {
  char text[256];
  const StragglerScore& score = change.score;
  const bool relative = score.relative < options.threshold;
  if (change.flagged)
    std::snprintf(text, sizeof text,
                  "rank %d takes %.2f times as long as %s since step %lld (relative score %.2f, "
                  "individual %.2f)",
                  change.rank, 1 / (relative ? score.relative : score.individual),
                  relative ? "the best of its peers" : "at its best", change.since, score.relative,
                  score.individual);
  else
    std::snprintf(text, sizeof text,
                  "rank %d is as fast as its peers again (relative score %.2f, individual %.2f)",
                  change.rank, score.relative, score.individual);
  return text;
}

}  // namespace weft::runtime
