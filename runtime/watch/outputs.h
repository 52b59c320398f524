// Which rank computed other numbers the second time: hashes of what each stage gave out in two
// tries of the same step, followed along the way of each micro-batch. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace weft::runtime {

/// What a rank gave out in the two tries. Bytes go from rank to rank as they are.
struct OutputPair {
  enum class What : std::int32_t { Forward, Backward, Gradient };
  What what = What::Forward;
  std::int32_t stage = 0;
  std::int32_t micro_batch = 0;  // of the global batch; 0 for gradients
  std::int32_t rank = 0;         // that gave it out (second try)
  std::int32_t rank_before = 0;  // first try; another one where the second ran elsewhere
  std::int32_t spare = 0;
  std::uint64_t first = 0, second = 0;
  bool differs() const { return first != second; }
};

struct Disagreement {
  OutputPair output;
  std::vector<int> ranks;  // one of them computed it wrong
};

/// The outputs that differ although everything they were computed from agrees, in the order in
/// which a step makes them; empty where nothing differs. rank = position * lanes + lane; `expert`
/// neighbouring lanes share experts and are suspects together where several of them differ.
std::vector<Disagreement> find_disagreements(std::span<const OutputPair> outputs, int stages,
                                             int lanes, int expert);

/// "rank 2 gave another activation of stage 1, micro-batch 3, than before".
std::string describe(const Disagreement& disagreement);
/// The ranks that are named, ascending.
std::vector<int> suspects(std::span<const Disagreement> disagreements);

}  // namespace weft::runtime
