#include "runtime/worker/step_ring.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "runtime/log/log.h"
#include "runtime/worker/recipe.h"

namespace weft::runtime {

dualpipe::RingInfo ring_info(const scheduler::Layout& layout, const scheduler::RankPlace& place) {
  dualpipe::RingInfo info;
  info.rank = place.rank;
  info.world = layout.world();
  info.position = place.position;
  info.lane = place.lane;
  info.kind = static_cast<int>(layout.kind);
  info.ranks = layout.pipeline;
  info.micro_batches = layout.micro_batches;
  info.chunks = dualpipe::Size{}.chunks;
  info.expert = layout.expert;
  return info;
}

std::unique_ptr<RingFile> open_step_ring(const StepRingOptions& options, dualpipe::RingInfo info,
                                         Reporter& reporter, const Clock& clock) {
  if (options.directory.empty() || options.steps == 0) return nullptr;
  info.attempt = options.attempt;
  auto ring =
      RingFile::create(options.directory / fmt::format("rank-{:04}.ring", info.rank),
                       {static_cast<std::size_t>(options.steps), options.records}, info, clock);
  if (ring) return std::move(*ring);
  const std::string message = "training goes on without a trace: " + ring.error().message;
  if (info.rank == 0)
    reporter.event("warning", message, {});  // for all of them
  else
    log_warning(message);
  return nullptr;
}

}  // namespace weft::runtime
