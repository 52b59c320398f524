#include "runtime/coordinator/coordinator.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "runtime/coordinator/decider.h"

namespace weft::runtime {

CoordinatorState start_state(int world, Instant now, const CoordinatorOptions& options) {
  CoordinatorState state;
  state.world = world;
  state.phase_since = now;
  state.deadline = now + options.nodes_bound;
  state.ranks.assign(world, RankState{});
  return state;
}

Decision decide(CoordinatorState state, const Event& event, Instant now,
                const CoordinatorOptions& options) {
  Decider decider(std::move(state), now, options);
  std::visit(decider, event);
  return decider.take();
}

bool counts(const std::vector<LineEntry>& line, std::int64_t generation, std::int64_t step) {
  for (auto entry = line.rbegin(); entry != line.rend(); ++entry) {
    if (entry->generation == generation) return true;
    if (entry->generation < generation) return false;
    if (step > entry->resumed_step) return false;
  }
  return generation == 0;  // from before there were generations
}

std::string damage_key(const Checkpoint& checkpoint) {
  return checkpoint.name + " of generation " + std::to_string(checkpoint.generation);
}

std::optional<Checkpoint> newest_on_line(const std::vector<LineEntry>& line,
                                         const std::vector<Checkpoint>& complete,
                                         const std::set<std::string>& damaged) {
  std::optional<Checkpoint> best;
  for (const Checkpoint& checkpoint : complete) {
    if (damaged.contains(damage_key(checkpoint))) continue;
    if (!line.empty() && !counts(line, checkpoint.generation, checkpoint.step)) continue;
    const auto key = [](const Checkpoint& one) {
      return std::tuple(one.step, one.generation, is_in_memory(one.name), one.name);
    };
    if (!best || key(checkpoint) > key(*best)) best = checkpoint;
  }
  return best;
}

std::string describe_exit(int exit_code, int signal) {
  if (signal == 0) return "exit code " + std::to_string(exit_code);
  return "signal " + std::to_string(signal) + " (" + strsignal(signal) + ")";
}

const char* to_string(Cause::Kind kind) {
  switch (kind) {
    case Cause::Kind::None:
      return "none";
    case Cause::Kind::Planned:
      return "planned";
    case Cause::Kind::PeerBlamed:
      return "peer_blamed";
    case Cause::Kind::Hang:
      return "hang";
    case Cause::Kind::FormingLate:
      return "forming_late";
    case Cause::Kind::NodeLost:
      return "node_lost";
    case Cause::Kind::WorkerFailed:
      return "worker_failed";
    case Cause::Kind::WorkerDied:
      return "worker_died";
  }
  return "?";
}

const char* to_string(RunPhase phase) {
  switch (phase) {
    case RunPhase::Waiting:
      return "waiting";
    case RunPhase::Claiming:
      return "claiming";
    case RunPhase::Forming:
      return "forming";
    case RunPhase::Running:
      return "running";
    case RunPhase::Ending:
      return "ending";
    case RunPhase::Paused:
      return "paused";
    case RunPhase::Closing:
      return "closing";
    case RunPhase::Ended:
      return "ended";
  }
  return "?";
}

std::string counted(std::size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

}  // namespace weft::runtime
