// Simulated workers whose ranks step together, take the times of a model, and may be stopped,
// killed or cut off; promises about the control plane are tried with them (tests/sim).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/sim/event_queue.h"
#include "runtime/sim/process.h"
#include "runtime/sim/worker_model.h"
#include "runtime/sim/workers.h"

namespace weft::runtime::sim {

struct ModelledWorkersOptions {
  int world = 1;                                   // ranks
  Duration wait_bound = std::chrono::seconds(30);  // of a wait between ranks
  /// Chance that a rank's death is noticed at once by a peer, which then fails and blames it.
  double peer_notices = 0.5;
  /// Chance that a commit does not see that a later generation was claimed meanwhile.
  double fence_race = 0.5;
};

class ModelledWorkers final : public Workers {
 public:
  /// Both must outlive it.
  ModelledWorkers(const ModelledWorkersOptions& options, const WorkerModel& model,
                  EventQueue& events)
      : options_(options), model_(model), events_(events) {}

  void join(World& world) override { world_ = &world; }
  void make_world(const MakeWorld& made) override;
  void spawn(int node, std::uint64_t incarnation, const SpawnWorker& spawn) override;
  void assign(int node, const AssignWorker& work) override;
  void tell_stop(std::int64_t generation, int rank) override;
  void tell_save(std::int64_t generation, int rank, const SaveRequest& save) override;
  void shut_down(std::int64_t generation, int rank) override;
  void abort_waits(int node, const AbortWaits& abort) override;
  void kill(int node, const KillWorker& kill) override;
  void flushed(std::int64_t generation, const AnswerFlush& answer) override;
  void agent_died(int node, std::uint64_t incarnation) override;
  std::vector<WorkerMoved> positions(int node, const AgentState& agent) override;
  std::optional<WaitsExplained> explain(std::int64_t generation) override;
  std::vector<Checkpoint> checkpoints() override;
  void strike(const Fault& fault) override;
  void heal() override;

 private:
  /// One worker process.
  struct Rank : Process {
    int rank = 0, node = 0;
    std::uint64_t incarnation = 0;  // of its agent
    bool assigned = false, loaded = false, failed = false, done = false;
    bool told_stop = false;
    SaveRequest told_save;
  };

  /// The workers of one generation, which step together.
  struct Group {
    std::int64_t generation = 0;
    std::int64_t resume = 0, step = 0;
    std::optional<Checkpoint> copy;            // resumed from, where that was in memory
    std::vector<std::shared_ptr<Rank>> ranks;  // null: not started
    int num_loaded = 0;
    bool begun = false, over = false, saving = false;
    std::int64_t sequence = 0;                    // of rank 0's records
    std::int64_t flush = 0;                       // the newest
    std::int64_t save_flush = 0;                  // that the save under way waits for
    std::map<std::int64_t, std::int64_t> copies;  // copies that wait for a flush -> step
    std::int64_t saved_request = 0;
    bool stopping = false;
    std::optional<Duration> stalled_since;
    std::int64_t ticket = 0;  // events of an older one are void
  };

  void after(Duration delay, std::function<void()> action) {
    events_.after(delay, std::move(action));
  }
  std::shared_ptr<Rank> find_rank(std::int64_t generation, int rank) const;
  void tell_about(const Rank& rank, const AgentEvent& event);
  void worker_gone(const std::shared_ptr<Rank>& rank, std::int64_t generation, int exit_code,
                   int signal);
  void fail_worker(Group& group, Rank& rank, const Error& error, int blames,
                   const std::string& damaged = "");

  // modelled_steps.cpp
  void begin_step(Group& group);
  void try_step(std::int64_t generation, std::int64_t ticket);
  int first_missing(const Group& group) const;  // the rank that holds the others up, or -1
  void stall(Group& group, int missing);
  void complete_step(Group& group);
  void after_save(Group& group);
  void all_done(Group& group, bool early);

  // modelled_saves.cpp
  void save(Group& group, std::int64_t request);
  void commit(std::int64_t generation, std::int64_t step, std::int64_t request);
  void copy(Group& group);
  void keep_copy(Group& group, std::int64_t step);
  std::vector<int> nodes_of(const Group& group) const;
  bool is_whole(const Group& group, const Checkpoint& copy) const;

  const ModelledWorkersOptions options_;
  const WorkerModel& model_;
  EventQueue& events_;
  World* world_ = nullptr;
  Processes processes_;
  std::map<std::int64_t, Group> groups_;
  std::map<int, std::vector<MemoryCopy>> memory_;  // by node; goes with its agent
};

}  // namespace weft::runtime::sim
