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
#include "runtime/rehearse/control_sim.h"
#include "runtime/rehearse/curves.h"
#include "runtime/rehearse/rehearsal.h"
#include "runtime/rehearse/virtual_checkpoints.h"
#include "runtime/rehearse/virtual_rings.h"

namespace weft::runtime {

constexpr double kCalmAfter = 10;  // seconds of stepping, then everything periodic slows down

class Rehearsal final : public VirtualWorkers {
 public:
  Rehearsal(const Job& job, const scheduler::Cluster& cluster, const RehearsalOptions& options,
            StepModel times, RunStore& store, SimulatedClock& clock,
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
        workers_(layout().world()),
        control_(nodes(), layout().world(), control_options(), events_, *this) {}

  Expected<RehearsalResult> run();

  void spawn(int node, std::int64_t generation, const RankSlot& where) override;
  void assign(int node, const AssignWorker& work) override;
  void stop(int) override { stop_asked_ = true; }
  void save(int, const SaveRequest& request) override;
  void shut_down(int node, int rank) override;
  void abort(std::int64_t generation, const std::string& reason) override;
  void kill(int node, std::int64_t generation, int rank, bool hard) override;
  void tell_positions() override;
  std::vector<Checkpoint> checkpoints() override { return checkpoints_.complete(); }
  void store(const StoreRecords& records) override;
  void truncate(std::int64_t step) override;
  WaitsExplained explain(std::int64_t generation) override;
  void said(const std::string& by, const std::string& reason) override;

 private:
  struct Worker {
    enum class Phase { None, Starting, Ready, Loading, Stepping, Done };
    Phase phase = Phase::None;
    int node = -1;
    int slot = 0;
    std::int64_t generation = 0;
    std::int64_t told_step = -1;
    std::int64_t action = 0;
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
  std::vector<ControlSim::NodeSetup> nodes() const;
  ControlSim::Options control_options() const;
  Instant at(double seconds) const { return Instant(from_seconds(seconds)); }
  double now() const { return seconds(events_.now().time_since_epoch()); }

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
  SimulatedClock& clock_;
  const RehearsalObserver& observer_;
  EventQueue events_;
  std::ofstream log_;  // what agents and coordinator say
  SyntheticCurves curves_;
  VirtualCheckpoints checkpoints_;
  FaultGrid grid_;
  std::vector<Worker> workers_;
  ControlSim control_;

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
  Instant loading_told_{};
  std::vector<VirtualStepTimes> traced_;  // the last ones
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
