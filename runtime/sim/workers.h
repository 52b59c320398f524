// What the agents of a simulated cluster do to its workers, and what the shared run directory keeps
// of their work. Two answers: ModelledWorkers (modelled_workers.h) for promises about the control
// plane, and a rehearsal's virtual ranks (runtime/rehearse). Called on the world's one thread; what
// workers have to say goes to World::tell.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/coordinator/agent.h"
#include "runtime/coordinator/coordinator.h"

namespace weft::runtime::sim {

class World;
struct Fault;

/// `node`: its index; `generation`: of the agent that asks.
class Workers {
 public:
  virtual ~Workers() = default;
  /// Before anything else; the world outlives every other call.
  virtual void join(World& world) = 0;

  virtual void make_world(const MakeWorld&) {}
  /// `incarnation`: of the agent that is its parent.
  virtual void spawn(int node, std::uint64_t incarnation, const SpawnWorker& spawn) = 0;
  virtual void assign(int node, const AssignWorker& work) = 0;
  virtual void tell_stop(std::int64_t generation, int rank) = 0;
  virtual void tell_save(std::int64_t generation, int rank, const SaveRequest& save) = 0;
  virtual void shut_down(std::int64_t generation, int rank) = 0;
  virtual void abort_waits(int node, const AbortWaits& abort) = 0;
  virtual void kill(int node, const KillWorker& kill) = 0;
  virtual void flushed(std::int64_t /*generation*/, const AnswerFlush&) {}
  /// Workers die with their agent.
  virtual void agent_died(int node, std::uint64_t incarnation) = 0;
  /// What an agent that is about to report reads from its workers' rings.
  virtual std::vector<WorkerMoved> positions(int node, const AgentState& agent) = 0;

  /// Who waits for whom, if it can be said.
  virtual std::optional<WaitsExplained> explain(std::int64_t generation) = 0;
  /// The complete checkpoints of the run directory.
  virtual std::vector<Checkpoint> checkpoints() = 0;

  /// KillWorker, StopWorker, FailWorker.
  virtual void strike(const Fault&) {}
  /// Every fault is over.
  virtual void heal() {}
};

}  // namespace weft::runtime::sim
