#include "runtime/rehearse/rehearsal.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/rng.h"
#include "base/units.h"
#include "runtime/job/course.h"
#include "runtime/rehearse/control_sim.h"
#include "runtime/rehearse/curves.h"
#include "runtime/rehearse/virtual_checkpoints.h"
#include "runtime/rehearse/virtual_rings.h"
#include "trainer/hf/inventory.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

// Of a step, run to run; what is left of noise when nothing is wrong. Assumed.
constexpr double kJitter = 0.003;
constexpr double kHostBytesPerSecond = 20e9;  // GPU to host memory, PCIe 4. Assumed.
constexpr long long kFullBatch = 1LL << 40;   // a step at which every ramp is over
constexpr double kCalmAfter = 10;             // seconds of stepping
constexpr double kLoadingTold = 20;           // seconds between signs of life while loading
constexpr double kWakeBefore = 10;            // seconds before a fault that agents must notice
constexpr int kSigkill = 9, kSigsegv = 11;

/// `bound`: of every wait, in seconds.
bool stops_a_run(const Fault& fault, double bound) {
  return fault.kind == FaultKind::NodeDeath || fault.kind == FaultKind::WorkerCrash ||
         fault.kind == FaultKind::Hang ||
         (fault.kind == FaultKind::LinkFlap && fault.seconds >= bound);
}

/// Of a full batch, in the first stage's step (from 0): a ramp's small batches have fewer
/// micro-batches.
double batch_share(const Job& job, long long step) {
  if (job.recipe[0] == "grpo" || job.pretrain.batch_start <= 0) return 1;
  const auto course = course_of(job.pretrain, sequence_tokens(job));
  return course ? 1.0 * course->plan.batch(step) / job.pretrain.batch : 1;
}

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
  void make_record(json record, std::int64_t step);
  void event(const std::string& kind, const std::string& message, json details = json::object());
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

  std::map<std::int64_t, std::map<std::int64_t, json>> records_;  // generation, sequence
  std::map<std::int64_t, std::int64_t> next_record_;
};

std::vector<ControlSim::NodeSetup> Rehearsal::nodes() const {
  std::vector<ControlSim::NodeSetup> out;
  for (int n = 0; n < grid_.nodes; ++n) out.push_back({fmt::format("n{:03}", n), grid_.devices});
  return out;
}

ControlSim::Options Rehearsal::control_options() const {
  ControlSim::Options options;
  options.coordinator.heartbeat = from_seconds(job_.control.heartbeat_s);
  options.agent.heartbeat = from_seconds(job_.control.heartbeat_s);
  options.coordinator.swap_stragglers = options_.swap_stragglers;
  // Positions must reach the coordinator well within the bound for hangs.
  const double shortest = times_.seconds() * batch_share(job_, 0);
  const double hang = std::max(seconds(options.coordinator.hang_bound_min),
                               options.coordinator.hang_factor * shortest);
  options.calm_factor =
      std::clamp(static_cast<int>(hang / 4 / std::max(0.1, job_.control.heartbeat_s)), 1, 60);
  return options;
}

// --- From start to end ---------------------------------------------------------------------------

Expected<RehearsalResult> Rehearsal::run() {
  // No process stands behind it, and two rehearsals shall not differ by their processes.
  WEFT_TRY(store_.describe({{"synthetic", true}, {"pid", 0}}));
  event("rehearsal",
        fmt::format("[synthetic] rehearsal with {} virtual ranks on {} nodes ({} of them spare); "
                    "no model is trained; step times: {}",
                    layout().world(), grid_.nodes, options_.spares, times_.costs().basis));
  open_stages();
  plan_faults();
  events_.at(at(options_.horizon), [this] {
    control_.set_calm(false);
    events_.after(std::chrono::seconds(5), [this] { control_.ask(StopAsked{}); });
  });
  control_.start();
  const auto begun = std::chrono::steady_clock::now();
  const double limit = options_.horizon + 86400;
  while (!events_.empty() && !control_.over() && !failure_) {
    if (seconds(events_.next().time_since_epoch()) > limit) break;
    if (options_.speed > 0)
      std::this_thread::sleep_until(
          begun + from_seconds(seconds(events_.next().time_since_epoch()) / options_.speed));
    events_.step();
    if (observer_.stop && observer_.stop()) control_.ask(StopAsked{});
  }
  if (failure_) return tl::unexpected(*failure_);
  lose_until_now();
  if (job_.trace.steps > 0)
    WEFT_TRY(write_virtual_rings(store_.paths().traces(), layout(), times_, traced_,
                                 job_.recipe[place_of_step(std::max<std::int64_t>(1, step_)).stage],
                                 store_.attempt(),
                                 clock_.wall_now() - clock_.now().time_since_epoch()));
  RehearsalResult result;
  result.reason = control_.end() ? control_.end()->reason : "it did not come to an end";
  const Outcome outcome = control_.end() ? control_.end()->outcome : Outcome::Failed;
  result.state = outcome == Outcome::Finished  ? RunState::Finished
                 : outcome == Outcome::Stopped ? RunState::Stopped
                                               : RunState::Failed;
  result.steps = step_;
  result.generations = generation_;
  result.terms = control_.terms();
  result.faults = faults_;
  result.lost_steps = static_cast<int>(lost_steps_);
  result.simulated_seconds = now();
  result.goodput = goodput_;
  return result;
}

void Rehearsal::open_stages() {
  for (const std::string& name : job_.recipe) {
    courses_.emplace_back();
    if (name == "grpo") {
      stage_steps_.push_back(job_.grpo.steps);
      continue;
    }
    const SupervisedJob& stage =
        name == "pretrain" ? job_.pretrain : static_cast<const SupervisedJob&>(job_.cold_start);
    stage_steps_.push_back(stage.steps);
    if (auto course = course_of(stage, sequence_tokens(job_))) courses_.back() = std::move(*course);
  }
}

Rehearsal::Place Rehearsal::place_of_step(std::int64_t step) const {
  std::size_t stage = 0;
  long long before = 0;
  while (stage + 1 < stage_steps_.size() && step > before + stage_steps_[stage])
    before += stage_steps_[stage++];
  return {stage, step - before};
}

long long Rehearsal::planned_steps() const {
  long long all = 0;
  for (const long long steps : stage_steps_) all += steps;
  return options_.steps > 0 ? std::min(options_.steps, all) : all;
}

// --- Faults --------------------------------------------------------------------------------------

void Rehearsal::plan_faults() {
  for (const Fault& fault : options_.faults) {
    events_.at(at(fault.at), [this, fault] { happen(fault); });
    if (!stops_a_run(fault, job_.control.wait_bound_s)) continue;
    wake_.push_back(at(fault.at));
    events_.at(at(std::max(0.0, fault.at - kWakeBefore)), [this] { settle_pace(); });
  }
}

/// Heartbeats are needed while something happens to the control plane, or is about to.
void Rehearsal::settle_pace() {
  const Instant soon = events_.now() + from_seconds(kWakeBefore + kCalmAfter);
  const bool due = std::ranges::any_of(wake_, [&](Instant w) { return w <= soon; });
  const bool settled =
      stepping_ && events_.now() - stepping_since_ >= from_seconds(kCalmAfter) && !stop_asked_;
  control_.set_calm(settled && !due && events_.now() < at(options_.horizon));
}

void Rehearsal::happen(const Fault& fault) {
  if (stops_a_run(fault, job_.control.wait_bound_s)) std::erase(wake_, at(fault.at));
  if (!control_.is_up(fault.node)) return;
  const int rank = rank_at(fault.node, fault.device);
  const std::string where = fmt::format("n{:03}/{}{}", fault.node, fault.device,
                                        rank >= 0 ? ", rank " + std::to_string(rank) : ", a spare");
  const auto say = [&](const std::string& what) {
    ++faults_;
    event("fault", "[synthetic] " + what,
          {{"fault", std::string(to_string(fault.kind))},
           {"node", fmt::format("n{:03}", fault.node)},
           {"device", fault.device},
           {"rank", rank},
           {"seconds", fault.seconds},
           {"factor", fault.factor}});
  };
  switch (fault.kind) {
    case FaultKind::NodeDeath: {
      say(fmt::format("host n{:03} dies; back in {}", fault.node,
                      format_duration(from_seconds(fault.seconds))));
      bool used = false;
      for (Worker& worker : workers_)
        if (worker.node == fault.node) {
          used |= worker.phase != Worker::Phase::None;
          worker = Worker{};
        }
      control_.kill_node(fault.node);
      if (used) halt(Loss::Restart);
      events_.after(from_seconds(fault.seconds), [this, node = fault.node] {
        control_.start_node(node);
        event("node_back", fmt::format("[synthetic] host n{:03} is back", node));
      });
      return;
    }
    case FaultKind::WorkerCrash:
      if (rank < 0) return;
      say("worker process dies at " + where);
      control_.tell(fault.node, WorkerExited{workers_[rank].generation, rank, 0, kSigsegv, ""});
      workers_[rank].phase = Worker::Phase::None;
      return halt(Loss::Restart);
    case FaultKind::Hang:
      if (rank < 0 || !stepping_) return;
      say("worker stops without a word at " + where);
      hung_rank_ = rank;
      return halt(Loss::Hang);
    case FaultKind::Straggler:
      if (rank < 0) return;
      say(fmt::format("{} computes {:.2f} times as long for {}", where, fault.factor,
                      format_duration(from_seconds(fault.seconds))));
      slow_.push_back({fault.node, fault.device, fault.factor,
                       events_.now() + from_seconds(fault.seconds), false});
      return;
    case FaultKind::LinkFlap:
      if (rank < 0) return;
      say(fmt::format("the network port of {} is gone for {:.1f} s", where, fault.seconds));
      return flap(fault);
    case FaultKind::CorruptCheckpoint:
      say("the next checkpoint will be damaged on storage");
      ++corrupt_next_;
      return;
    case FaultKind::Imbalance:
      say(fmt::format("the busiest experts get {:.2f} times their share for {}", fault.factor,
                      format_duration(from_seconds(fault.seconds))));
      imbalances_.push_back({events_.now() + from_seconds(fault.seconds), fault.factor});
      return;
  }
}

/// Messages are repeated until the port is back; beyond the bound of every wait a rank gives up.
void Rehearsal::flap(const Fault& fault) {
  if (!stepping_) return;
  const int rank = rank_at(fault.node, fault.device);
  if (fault.seconds < job_.control.wait_bound_s) {
    step_end_ += from_seconds(fault.seconds);
    step_lost_[static_cast<int>(Loss::Network)] += fault.seconds;
    return;
  }
  const std::int64_t generation = generation_;
  halt(Loss::Hang);
  events_.after(from_seconds(job_.control.wait_bound_s), [this, rank, generation] {
    const int peer = (rank + job_.parallel.data) % layout().world();
    if (workers_[peer].generation != generation || workers_[peer].node < 0) return;
    WorkerFailed failed;
    failed.generation = generation;
    failed.rank = peer;
    failed.blames = rank;
    failed.error = {Code::DeadlineExceeded, "[synthetic] no message from rank " +
                                                std::to_string(rank) + " within the bound"};
    control_.tell(workers_[peer].node, failed);
  });
}

/// Steps end here: one rank is gone, and every other waits for it sooner or later.
void Rehearsal::halt(Loss until_noticed) {
  control_.set_calm(false);
  if (!stepping_) return;
  stepping_ = false;
  ++epoch_;
  goodput_.lose(Loss::LostWork, seconds(events_.now() - step_begin_));
  down_as_ = until_noticed;
  down_since_ = events_.now();
}

void Rehearsal::lose_until_now() {
  if (stepping_) goodput_.lose(Loss::LostWork, seconds(events_.now() - step_begin_));
  if (!stepping_) goodput_.lose(down_as_, seconds(events_.now() - down_since_));
  down_since_ = step_begin_ = events_.now();
}

// --- Workers -------------------------------------------------------------------------------------

int Rehearsal::rank_at(int node, int device) const {
  for (std::size_t rank = 0; rank < workers_.size(); ++rank)
    if (workers_[rank].node == node && workers_[rank].slot == device) return static_cast<int>(rank);
  return -1;
}

std::string Rehearsal::place_of(int rank) const {
  const Worker& worker = workers_[rank];
  return fmt::format("rank {} (position {}, lane {}, n{:03}/{})", rank, rank / job_.parallel.data,
                     rank % job_.parallel.data, worker.node, worker.slot);
}

void Rehearsal::spawn(int node, std::int64_t generation, const RankSlot& where) {
  Worker& worker = workers_[where.rank];
  if (generation > generation_) {
    generation_ = generation;
    num_loaded_ = 0;
    stop_asked_ = false;
    hung_rank_ = -1;
  }
  worker = {Worker::Phase::Starting, node, where.slot, generation, -1, 0};
  Rng rng(options_.seed, "worker start", static_cast<std::uint64_t>(generation),
          static_cast<std::uint64_t>(where.rank));
  const double delay = assumed_.start_seconds * (0.7 + 0.3 * rng.uniform());
  events_.after(from_seconds(delay), [this, node, generation, rank = where.rank] {
    Worker& mine = workers_[rank];
    if (mine.generation != generation || mine.phase != Worker::Phase::Starting) return;
    mine.phase = Worker::Phase::Ready;
    control_.tell(node, WorkerHello{generation, rank, fmt::format("n{:03}:{}", node, 7000 + rank)});
  });
}

void Rehearsal::assign(int node, const AssignWorker& work) {
  Worker& worker = workers_[work.rank];
  if (worker.generation != work.generation || worker.phase != Worker::Phase::Ready) return;
  worker.phase = Worker::Phase::Loading;
  resume_ = work.resume;
  // Rank 0 reads every byte and chooses, as in a run; the others take part.
  if (work.rank == 0 && work.resume) {
    const VirtualCheckpoints::Verdict verdict = checkpoints_.verify(work.resume->name);
    if (verdict.position >= 0) {
      WorkerFailed failed;
      failed.generation = work.generation;
      failed.damaged_checkpoint = work.resume->name;
      failed.error = {Code::Corrupt, "[synthetic] " + work.resume->name + ": " + verdict.reason};
      events_.after(from_seconds(assumed_.load_seconds / 2), [this, node, failed] {
        if (workers_[0].generation == failed.generation &&
            workers_[0].phase == Worker::Phase::Loading) {
          event("skipped_checkpoint", failed.error.message);
          control_.tell(node, failed);
        }
      });
      return;
    }
  }
  Rng rng(options_.seed, "worker load", static_cast<std::uint64_t>(work.generation),
          static_cast<std::uint64_t>(work.rank));
  const double delay = assumed_.load_seconds * (0.9 + 0.1 * rng.uniform());
  events_.after(from_seconds(delay), [this, rank = work.rank, generation = work.generation] {
    loaded(rank, generation);
  });
}

void Rehearsal::loaded(int rank, std::int64_t generation) {
  Worker& worker = workers_[rank];
  if (worker.generation != generation || worker.phase != Worker::Phase::Loading) return;
  worker.phase = Worker::Phase::Stepping;
  if (++num_loaded_ == layout().world()) begin_stepping();
}

void Rehearsal::tell_positions() {
  const bool loading_due = events_.now() - loading_told_ >= from_seconds(kLoadingTold);
  if (loading_due) loading_told_ = events_.now();
  for (std::size_t rank = 0; rank < workers_.size(); ++rank) {
    Worker& worker = workers_[rank];
    const int number = static_cast<int>(rank);
    if (worker.phase == Worker::Phase::Loading && loading_due)
      control_.tell(worker.node, WorkerMoved{worker.generation, number, Activity::Loading, -1,
                                             ++worker.action, Duration(0)});
    if (worker.phase != Worker::Phase::Stepping || worker.told_step == step_ || !stepping_)
      continue;
    worker.told_step = step_;
    control_.tell(worker.node, WorkerMoved{worker.generation, number, Activity::Stepping, step_, 0,
                                           from_seconds(last_step_seconds_)});
  }
}

void Rehearsal::kill(int node, std::int64_t generation, int rank, bool hard) {
  Worker& worker = workers_[rank];
  if (worker.generation != generation || worker.phase == Worker::Phase::None) return;
  if (!hard && rank == hung_rank_) return;  // it does not hear
  worker.phase = Worker::Phase::None;
  events_.after(std::chrono::milliseconds(200), [this, node, generation, rank, hard] {
    control_.tell(node, WorkerExited{generation, rank, 0, hard ? kSigkill : 15, ""});
  });
}

void Rehearsal::shut_down(int node, int rank) {
  Worker& worker = workers_[rank];
  const std::int64_t generation = worker.generation;
  worker.phase = Worker::Phase::None;
  events_.after(std::chrono::milliseconds(200), [this, node, generation, rank] {
    control_.tell(node, WorkerExited{generation, rank, 0, 0, ""});
  });
}

void Rehearsal::abort(std::int64_t generation, const std::string&) {
  if (generation != generation_) return;
  if (stepping_) halt(Loss::Restart);
  lose_until_now();  // noticed
  down_as_ = Loss::Restart;
}

WaitsExplained Rehearsal::explain(std::int64_t generation) {
  const int culprit = hung_rank_;
  return {generation, culprit,
          culprit < 0 ? "[synthetic] nobody can say"
                      : "[synthetic] all ranks wait, directly or not, for " + place_of(culprit)};
}

// --- Steps ---------------------------------------------------------------------------------------

void Rehearsal::begin_stepping() {
  lose_until_now();
  const std::int64_t from = resume_ ? resume_->step : 0;
  lost_steps_ += goodput_.roll_back(from);
  tokens_.erase(tokens_.upper_bound(from), tokens_.end());
  tokens_now_ = tokens_.empty() ? 0 : tokens_.rbegin()->second;
  step_ = from;
  stepping_ = true;
  stepping_since_ = events_.now();
  events_.after(from_seconds(kCalmAfter), [this] { settle_pace(); });
  json details = {{"step", from}, {"synthetic", true}};
  if (resume_) details["checkpoint"] = resume_->name;
  make_record({{"type", "event"},
               {"kind", resume_ ? "resumed" : "started"},
               {"message", resume_ ? "[synthetic] resumed from " + resume_->name + " at step " +
                                         std::to_string(from)
                                   : "[synthetic] starting from initial weights"},
               {"details", details}},
              -1);
  begin_step();
}

double Rehearsal::extra_of_experts() const {
  double worst = 1;
  for (const auto& [until, factor] : imbalances_)
    if (until > events_.now()) worst = std::max(worst, factor);
  return (worst - 1) * times_.costs().expert_share;
}

/// The slowest pipeline: expert groups wait for their slow members.
double Rehearsal::slow_seconds() {
  std::erase_if(slow_, [&](const Slow& s) { return s.until <= events_.now(); });
  std::map<int, std::vector<double>> factors;  // by expert group index
  for (Slow& slow : slow_) {
    const int rank = rank_at(slow.node, slow.device);
    if (rank < 0) continue;
    const int position = rank / job_.parallel.data;
    const int group = rank % job_.parallel.data / job_.parallel.expert;
    std::vector<double>& of = factors[group];
    of.resize(static_cast<std::size_t>(job_.parallel.pipeline), 1.0);
    of[position] = std::max(of[position], slow.factor);
    if (slow.flagged) continue;
    slow.flagged = true;
    events_.after(from_seconds(assumed_.straggler_seconds),
                  [this, slow, rank, generation = generation_] {
                    if (generation != generation_ || slow.until <= events_.now()) return;
                    if (options_.swap_stragglers) control_.set_calm(false);
                    control_.ask(StragglerFlagged{
                        generation, rank,
                        fmt::format("[synthetic] {} computes {:.2f} times as long as its peers",
                                    place_of(rank), slow.factor)});
                  });
  }
  double most = times_.seconds();
  for (const auto& [group, of] : factors) most = std::max(most, times_.seconds(of));
  return most;
}

void Rehearsal::begin_step() {
  Rng rng(options_.seed, "step time", static_cast<std::uint64_t>(step_ + 1));
  const double jitter = 1 + kJitter * std::abs(rng.normal());
  const Place place = place_of_step(step_ + 1);
  const std::optional<Course>& course = courses_[place.stage];
  const double share =
      course ? 1.0 * course->plan.batch(place.step - 1) / course->plan.batch(kFullBatch) : 1;
  const double scale = jitter * share;
  const double ideal = times_.seconds() * scale, slow = slow_seconds() * scale;
  step_useful_ = ideal;
  step_lost_ = {};
  step_lost_[static_cast<int>(Loss::Straggler)] = slow - ideal;
  step_lost_[static_cast<int>(Loss::Imbalance)] = slow * extra_of_experts();
  step_begin_ = events_.now();
  step_end_ = step_begin_ + from_seconds(slow * (1 + extra_of_experts()));
  events_.at(step_end_, [this, epoch = ++epoch_] { end_step(epoch); });
}

void Rehearsal::end_step(int epoch) {
  if (epoch != epoch_ || !stepping_) return;
  if (step_end_ > events_.now()) {  // a flap made it longer
    events_.at(step_end_, [this, epoch] { end_step(epoch); });
    return;
  }
  ++step_;
  last_step_seconds_ = seconds(events_.now() - step_begin_);
  record_step(step_useful_, step_lost_);
  traced_.push_back({step_, step_begin_, last_step_seconds_});
  if (std::ssize(traced_) > job_.trace.steps) traced_.erase(traced_.begin());
  goodput_.step(step_, step_useful_, step_lost_);
  const bool last = step_ >= planned_steps() || stop_asked_;
  const bool wanted = save_ && step_ >= save_->at_step;
  if (last || wanted || step_ % job_.checkpoint.every_steps == 0) return take_checkpoint(last);
  begin_step();
}

void Rehearsal::record_step(double, const LossSeconds& lost) {
  const Place place = place_of_step(step_);
  const std::string& stage = job_.recipe[place.stage];
  const std::optional<Course>& course = courses_[place.stage];
  const double before = tokens_now_;
  double tokens = 0;
  json record = {{"step", step_}, {"stage", stage}, {"stage_step", place.step}, {"applied", true}};
  if (course) {
    const int length = std::max(1, sequence_tokens(job_));
    tokens = 1.0 * course->plan.batch(place.step - 1) * length;
    record["lr"] = course->learning_rate(place.step - 1);
  } else {
    tokens = 1.0 * job_.grpo.prompts_per_step * job_.grpo.num_generations *
             job_.grpo.max_completion_length / 2;
    record["lr"] = job_.grpo.lr;
  }
  tokens_now_ += tokens;
  tokens_[step_] = tokens_now_;
  record.update(curves_.record(stage, step_, place.step, before));
  record["tokens"] = tokens_now_;
  record["step_seconds"] = last_step_seconds_;
  record["tokens_per_second"] = tokens / last_step_seconds_;
  record["goodput"] = goodput_.share();
  record["generation"] = generation_;
  for (int i = 0; i < kNumLosses; ++i)
    if (lost[i] > 0) record["lost/" + std::string(to_string(static_cast<Loss>(i)))] = lost[i];
  make_record({{"type", "metrics"}, {"record", record}}, step_);
  if (stage == "grpo" && (place.step == 1 || place.step % 10 == 0))
    note_failure(store_.write_samples(step_, curves_.samples(step_, place.step)));
}

void Rehearsal::take_checkpoint(bool last) {
  const double stall = assumed_.stall_seconds + (last ? assumed_.write_seconds : 0);
  goodput_.lose(Loss::Checkpoint, stall);
  saving_ = save_ ? save_->id : 0;
  save_.reset();
  const auto begin = [this, epoch = ++epoch_, last, step = step_, generation = generation_,
                      tokens = static_cast<std::int64_t>(tokens_now_)] {
    if (last) written(step, generation, tokens, true);
    if (epoch != epoch_ || !stepping_) return;
    if (last) return leave(stop_asked_);
    events_.after(from_seconds(assumed_.write_seconds),
                  [=, this] { written(step, generation, tokens, false); });
    begin_step();
  };
  events_.after(from_seconds(stall), begin);
  step_begin_ = events_.now() + from_seconds(stall);  // the stall is counted already
}

void Rehearsal::save(int, const SaveRequest& request) {
  if (!save_ || save_->id < request.id) save_ = request;
}

/// The last shard and the manifest are on storage, if the generation still lives.
void Rehearsal::written(std::int64_t step, std::int64_t generation, std::int64_t tokens,
                        bool last) {
  if (generation != generation_ || !stepping_) return;
  const auto name = checkpoints_.write(step, generation, tokens, format_time(clock_.wall_now()));
  if (!name) return note_failure(tl::unexpected(name.error()));
  make_record({{"type", "event"},
               {"kind", "checkpoint"},
               {"message", "[synthetic] saved " + *name},
               {"details",
                {{"step", step},
                 {"seconds", assumed_.stall_seconds},
                 {"write_seconds", assumed_.write_seconds},
                 {"name", *name},
                 {"synthetic", true}}}},
              step);
  control_.tell(workers_[0].node, WorkerSaved{generation, 0, {step, generation, *name}, saving_});
  const std::int64_t settled = step - 1LL * job_.checkpoint.keep * job_.checkpoint.every_steps;
  goodput_.settle(settled);
  tokens_.erase(tokens_.begin(), tokens_.lower_bound(settled));
  if (corrupt_next_ == 0 || last) return;
  --corrupt_next_;
  if (const auto position = checkpoints_.damage(*name); !position)
    note_failure(tl::unexpected(position.error()));
}

void Rehearsal::leave(bool stopped_early) {
  stepping_ = false;
  down_as_ = Loss::Restart;
  down_since_ = events_.now();
  control_.set_calm(false);
  for (std::size_t rank = 0; rank < workers_.size(); ++rank) {
    workers_[rank].phase = Worker::Phase::Done;
    control_.tell(workers_[rank].node,
                  WorkerDone{generation_, static_cast<int>(rank), stopped_early});
  }
}

// --- The run directory ---------------------------------------------------------------------------

/// Rank 0 makes it; its agent keeps it until the coordinator has it.
void Rehearsal::make_record(json record, std::int64_t step) {
  const std::int64_t sequence = next_record_[generation_]++;
  records_[generation_][sequence] = std::move(record);
  control_.tell(workers_[0].node, RecordMade{generation_, 0, {sequence, step}});
}

void Rehearsal::store(const StoreRecords& wanted) {
  auto& made = records_[wanted.generation];
  for (const std::int64_t sequence : wanted.sequences) {
    const auto found = made.find(sequence);
    if (found == made.end()) continue;
    const json& record = found->second;
    if (record["type"] == "metrics") {
      note_failure(store_.append_metrics(record["record"]));
      if (observer_.step) observer_.step(record["record"]);
    } else {
      note_failure(store_.append_event(record["kind"], record["message"], record.at("details")));
      if (observer_.event) observer_.event(record["kind"], record["message"]);
    }
  }
  made.erase(made.begin(), made.lower_bound(wanted.next));
}

void Rehearsal::truncate(std::int64_t step) { note_failure(store_.truncate_after(step)); }

void Rehearsal::event(const std::string& kind, const std::string& message, json details) {
  details["synthetic"] = true;
  note_failure(store_.append_event(kind, message, details));
  if (observer_.event) observer_.event(kind, message);
}

/// A run's events are what people look for; hundreds of nodes that join are not.
void Rehearsal::said(const std::string& by, const std::string& reason) {
  log_ << "[synthetic] " << format_time(clock_.wall_now()) << " " << by << ": " << reason << "\n";
  const bool joins = reason.starts_with("node ") &&
                     (reason.find(" joined with ") < 16 || reason.ends_with(" is back"));
  if (by == "coordinator" && !joins) event("coordinator", "[synthetic] " + reason);
}

}  // namespace

RehearsalAssumptions assumptions_for(const Job& job, const scheduler::Cluster& cluster) {
  RehearsalAssumptions assumed;
  // FP32 master weights and two moments; what is saved of them is spread evenly over the ranks.
  const double moments = job.optimizer.moments == "bf16" ? 4 : 8;
  const double bytes = (4 + moments) * static_cast<double>(trainer::hf::count(job.model).total);
  const double ranks = 1.0 * job.parallel.pipeline * job.parallel.data;
  assumed.stall_seconds = bytes / ranks / kHostBytesPerSecond;
  if (cluster.storage_write > 0) assumed.write_seconds = bytes / cluster.storage_write;
  // The cluster's figure counts from the failure on; detection takes some seconds of it.
  if (cluster.restart > 0) {
    assumed.start_seconds = std::min(10.0, cluster.restart / 4);
    assumed.load_seconds = std::max(1.0, cluster.restart - assumed.start_seconds - 4);
  }
  return assumed;
}

FaultGrid fault_grid(const Job& job, const scheduler::Cluster& cluster,
                     const RehearsalOptions& options) {
  const int world = job.parallel.pipeline * job.parallel.data;
  const int devices = std::min(std::max(1, cluster.gpus_per_node()), world);
  return {(world + devices - 1) / devices + options.spares, devices, options.horizon};
}

Expected<RehearsalResult> rehearse(const Job& job, const scheduler::Cluster& cluster,
                                   const RehearsalOptions& options, StepModel times,
                                   RunStore& store, SimulatedClock& clock,
                                   const RehearsalObserver& observer) {
  const FaultGrid grid = fault_grid(job, cluster, options);
  if (grid.nodes - options.spares > cluster.num_nodes())
    return fail(Code::InvalidArgument,
                fmt::format("the job needs {} nodes, {} has {}; take a smaller layout "
                            "(parallel.data) or a larger cluster",
                            grid.nodes - options.spares, cluster.name, cluster.num_nodes()));
  return Rehearsal(job, cluster, options, std::move(times), store, clock, observer).run();
}

}  // namespace weft::runtime
