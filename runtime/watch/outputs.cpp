#include "runtime/watch/outputs.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace weft::runtime {
namespace {

using What = OutputPair::What;

/// Forwards by ascending stage, then backwards by descending stage, then gradients.
std::tuple<int, int, int, int> order(const OutputPair& one) {
  const int stage = one.what == What::Backward ? -one.stage : one.stage;
  return {static_cast<int>(one.what), stage, one.micro_batch, one.rank};
}

/// Which activations and gradients differ, by where they were given out.
class Differing {
 public:
  explicit Differing(std::span<const OutputPair> outputs) {
    for (const OutputPair& one : outputs)
      if (one.differs() && one.what != What::Gradient)
        all_.insert({one.what, one.stage, one.micro_batch});
  }

  /// Does all agree that this was computed from?
  bool inputs_agree(const OutputPair& one, int last_stage) const {
    const int mb = one.micro_batch;
    if (one.what == What::Gradient) return all_.empty();  // or that has changed it
    if (has(What::Forward, one.stage - 1, mb)) return false;
    if (one.what == What::Forward) return true;
    return !has(What::Forward, one.stage, mb) &&
           (one.stage == last_stage || !has(What::Backward, one.stage + 1, mb));
  }

 private:
  bool has(What what, int stage, int micro_batch) const {
    return all_.contains({what, stage, micro_batch});
  }
  std::set<std::tuple<What, int, int>> all_;
};

}  // namespace

std::vector<Disagreement> find_disagreements(std::span<const OutputPair> outputs, int stages,
                                             int lanes, int expert) {
  const Differing differing(outputs);
  std::vector<OutputPair> first;
  for (const OutputPair& one : outputs)
    if (one.differs() && differing.inputs_agree(one, stages - 1)) first.push_back(one);
  std::ranges::sort(first, {}, order);
  const auto group = [&](int rank) { return rank - rank % lanes % expert; };
  std::vector<Disagreement> found;
  for (const OutputPair& one : first) {
    const bool gradient = one.what == What::Gradient;
    if (gradient && !found.empty() && found.back().output.stage == one.stage) continue;
    std::set<int> ranks = {one.rank, one.rank_before};
    // A sum of gradients is that of all holders. What lanes that share experts gave out wrong at
    // one stage may come from one of them.
    for (const OutputPair& other : first)
      if (other.what == one.what && other.stage == one.stage &&
          (gradient || group(other.rank) == group(one.rank)))
        ranks.insert({other.rank, other.rank_before});
    found.push_back({one, {ranks.begin(), ranks.end()}});
  }
  return found;
}

std::string describe(const Disagreement& disagreement) {
  const OutputPair& one = disagreement.output;
  std::string ranks;
  for (const int rank : disagreement.ranks)
    ranks += (ranks.empty() ? "rank " : " or rank ") + std::to_string(rank);
  const std::string stage = " of stage " + std::to_string(one.stage);
  if (one.what == What::Gradient)
    return ranks + " summed up another weight gradient" + stage + " than before";
  return ranks + " gave another " + (one.what == What::Forward ? "activation" : "gradient") +
         stage + ", micro-batch " + std::to_string(one.micro_batch) + ", than before";
}

std::vector<int> suspects(std::span<const Disagreement> disagreements) {
  std::set<int> ranks;
  for (const Disagreement& one : disagreements) ranks.insert(one.ranks.begin(), one.ranks.end());
  return {ranks.begin(), ranks.end()};
}

}  // namespace weft::runtime
