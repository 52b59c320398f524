#include "runtime/coordinator_shell/explain.h"

#include "runtime/store/ring_file.h"

namespace weft::runtime {

WaitsExplanation explain_waits(const RunPaths& paths) {
  constexpr std::size_t kNamed = 16;
  WaitsExplanation explanation;
  std::size_t working = 0, named = 0;
  for (const dualpipe::RankRecording& rank : read_ring_files(paths.traces()).recordings) {
    using Doing = dualpipe::Here::Doing;
    if (rank.here.doing == Doing::Works && ++working == 1) explanation.culprit = rank.info.rank;
    if (++named > kNamed) continue;
    explanation.text += (explanation.text.empty() ? "rank " : "; rank ") +
                        std::to_string(rank.info.rank) + " " + dualpipe::describe(rank.here);
  }
  if (working != 1) explanation.culprit = -1;  // only one that does not wait itself is at fault
  return explanation;
}

}  // namespace weft::runtime
