// The rehearsal's state and what happens to it; not for others to include. Its parts stand by what
// they are about: rehearsal (begin and end), rehearsal_faults, rehearsal_workers, rehearsal_steps.
#pragma once

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/job/course.h"
#include "runtime/rehearse/curves.h"
#include "runtime/rehearse/rehearsal.h"
#include "runtime/rehearse/virtual_checkpoints.h"
#include "runtime/rehearse/virtual_rings.h"
#include "runtime/sim/world.h"

namespace weft::runtime {

constexpr double kCalmAfter = 10;  // seconds of stepping, then everything periodic slows down

class Rehearsal final : public sim::Workers {
 public:
  Rehearsal(const Job& job, const scheduler::Cluster& cluster, const RehearsalOptions& options,
            StepModel times, RunStore& store, sim::SimulatedClock& clock,
            const RehearsalObserver& observer)
      : job_(job),
        options_(options),
        assumed_(assumptions_for(job, cluster)),
        times_(std::move(times)),
        store_(store),
        clock_(clock),
        observer_(observer),
        events_(clock),
        log_(store.paths().logs() / "control.log"),
        curves_(job, options.seed),
        checkpoints_(store.paths().checkpoints(), job.name, layout(), job.checkpoint.keep),
        grid_(fault_grid(job, cluster, options)),
        leaf_nodes_(cluster.num_leaves() > 1 ? cluster.leaf_nodes() : 0),
        workers_(layout().world()),
        world_(world_options(), events_, *this, told()) {}

  Expected<RehearsalResult> run();

  void join(sim::World&) override {}
  void spawn(int node, std::uint64_t incarnation, const SpawnWorker& spawn) override;
  void assign(int node, const AssignWorker& work) override;
  void tell_stop(std::int64_t, int) override { stop_asked_ = true; }
  void tell_save(std::int64_t, int, const SaveRequest& request) override;
  void shut_down(std::int64_t generation, int rank) override;
  void abort_waits(int node, const AbortWaits& abort) override;
  void kill(int node, const KillWorker& kill) override;
  void agent_died(int node, std::uint64_t incarnation) override;
  std::vector<WorkerMoved> positions(int node, const AgentState& agent) override;
  std::optional<WaitsExplained> explain(std::int64_t generation) override;
  std::vector<Checkpoint> checkpoints() override { return checkpoints_.complete(); }

 private:
  struct Worker {
    enum class Phase { None, Starting, Ready, Loading, Stepping, Done };
    Phase phase = Phase::None;
    int node = -1;
    int slot = 0;
    std::int64_t generation = 0;
    std::uint64_t incarnation = 0;  // of its agent
    Instant since{};                // in this phase
  };
  struct Slow {  // a straggler
    int node = 0, device = 0;
    double factor = 1;
    Instant until;
    bool flagged = false;
  };

  scheduler::Layout layout() const {
    return {*dualpipe::parse_kind(job_.parallel.schedule), job_.parallel.pipeline,
            job_.parallel.data, job_.parallel.expert, job_.parallel.micro_batches};
  }
  sim::WorldOptions world_options() const;
  int calm_pace() const;
  sim::Observer told();
  Instant at(double seconds) const { return Instant(from_seconds(seconds)); }
  double now() const { return seconds(events_.now().time_since_epoch()); }

  void stored(std::int64_t generation, std::int64_t sequence);
  void said(const std::string& by, const std::string& reason);
  void tell(int rank, const AgentEvent& event, Duration delay = {});
  void set_calm(bool calm) { world_.set_pace(calm ? calm_pace_ : 1); }

  void stop_soon();
  Expected<void> write_rings();
  void show_rings();
  void open_stages();
  void plan_faults();
  void happen(const Fault& fault);
  void flap(const Fault& fault);
  void settle_pace();
  void halt(Loss until_noticed);
  void lose_until_now();

  void loaded(int rank, std::int64_t generation);
  void begin_stepping();
  void begin_step();
  void end_step(int epoch);
  void record_step(double useful, const LossSeconds& lost);
  void take_checkpoint(bool last);
  void written(std::int64_t step, std::int64_t generation, std::int64_t tokens, bool last);
  void leave(bool stopped_early);
  void make_record(nlohmann::json record, std::int64_t step);
  void event(const std::string& kind, const std::string& message,
             nlohmann::json details = nlohmann::json::object());
  void note_failure(const Expected<void>& result) {
    if (!result && !failure_) failure_ = result.error();
  }
  int rank_at(int node, int device) const;
  std::string place_of(int rank) const;
  double slow_seconds();
  double extra_of_experts() const;
  /// Where a step (from 1) lies in the recipe.
  struct Place {
    std::size_t stage = 0;
    long long step = 0;  // of the stage, from 1
  };
  Place place_of_step(std::int64_t step) const;
  long long planned_steps() const;

  const Job& job_;
  const RehearsalOptions& options_;
  const RehearsalAssumptions assumed_;
  StepModel times_;
  RunStore& store_;
  sim::SimulatedClock& clock_;
  const RehearsalObserver& observer_;
  sim::EventQueue events_;
  std::ofstream log_;  // what agents and coordinator say
  SyntheticCurves curves_;
  VirtualCheckpoints checkpoints_;
  FaultGrid grid_;
  const int leaf_nodes_;  // under one leaf switch; 0: there is one only
  std::vector<Worker> workers_;
  const int calm_pace_ = calm_pace();  // while nothing is about to happen
  sim::World world_;

  Goodput goodput_;
  std::vector<Slow> slow_;
  std::vector<std::pair<Instant, double>> imbalances_;  // until, factor
  int corrupt_next_ = 0;
  int faults_ = 0;
  std::vector<Instant> wake_;  // faults that stop the run, not yet happened
  std::optional<Error> failure_;

  std::int64_t generation_ = 0;  // that steps, or whose workers start
  int num_loaded_ = 0;
  std::optional<Checkpoint> resume_;
  long long lost_steps_ = 0;

  // The recipe
  std::vector<long long> stage_steps_;
  std::vector<std::optional<Course>> courses_;  // of the stages; grpo has none
  std::int64_t step_ = 0;                       // last completed
  std::map<std::int64_t, double> tokens_;       // after these steps; where a resume may lead
  double tokens_now_ = 0;

  // The present step
  bool stepping_ = false;
  int epoch_ = 0;  // a step that was given up does not end
  Instant step_begin_{}, step_end_{};
  Instant stepping_since_{};
  double step_useful_ = 0;
  LossSeconds step_lost_{};
  double last_step_seconds_ = 0;
  std::vector<VirtualStepTimes> traced_;                   // the last ones
  std::chrono::steady_clock::time_point rings_written_{};  // in real time
  Loss down_as_ = Loss::Restart;  // what the time since down_since_ is lost to, while not stepping
  Instant down_since_{};
  int hung_rank_ = -1;
  bool stop_asked_ = false;
  std::optional<SaveRequest> save_;
  std::int64_t saving_ = 0;  // the request that the newest checkpoint answers

  std::map<std::int64_t, std::map<std::int64_t, nlohmann::json>> records_;  // generation, sequence
  std::map<std::int64_t, std::int64_t> next_record_;
};

}  // namespace weft::runtime
