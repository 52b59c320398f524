#include "runtime/rehearse/rehearsal.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/units.h"
#include "runtime/rehearse/rehearsal_impl.h"
#include "trainer/hf/inventory.h"

namespace weft::runtime {
namespace {

constexpr double kHostBytesPerSecond = 20e9;  // GPU to host memory, PCIe 4. Assumed.

/// Of a full batch, in the first stage's step (from 0): a ramp's small batches have fewer
/// micro-batches.
double batch_share(const Job& job, long long step) {
  if (job.recipe[0] == "grpo" || job.pretrain.batch_start <= 0) return 1;
  const auto course = course_of(job.pretrain, sequence_tokens(job));
  return course ? 1.0 * course->plan.batch(step) / job.pretrain.batch : 1;
}

}  // namespace

sim::WorldOptions Rehearsal::world_options() const {
  sim::WorldOptions options;
  options.seed = options_.seed;
  options.nodes = grid_.nodes;
  options.slots = grid_.devices;
  options.world = layout().world();
  options.name_digits = 3;
  options.leaf_nodes = leaf_nodes_;
  options.agent_tick = std::chrono::milliseconds(200);
  options.coordinator.heartbeat = from_seconds(job_.control.heartbeat_s);
  options.coordinator.swap_stragglers = options_.swap_stragglers;
  options.coordinator.layout = layout();
  options.agent.heartbeat = from_seconds(job_.control.heartbeat_s);
  options.agent.alone = grid_.nodes == 1;
  return options;
}

/// Positions must reach the coordinator well within the bound for hangs.
int Rehearsal::calm_pace() const {
  const CoordinatorOptions options;
  const double shortest = times_.seconds() * batch_share(job_, 0);
  const double hang = std::max(seconds(options.hang_bound_min), options.hang_factor * shortest);
  return std::clamp(static_cast<int>(hang / 4 / std::max(0.1, job_.control.heartbeat_s)), 1, 60);
}

sim::Observer Rehearsal::told() {
  sim::Observer observer;
  observer.decided = [this](Duration, const CoordinatorState&, const Event&,
                            const std::string& reason) {
    if (!reason.empty()) said("coordinator", reason);
  };
  observer.agent_decided = [this](Duration, const AgentState& state, const AgentEvent&,
                                  const std::string& reason) {
    if (!reason.empty()) said(state.node, reason);
  };
  observer.stored = [this](std::int64_t generation, int, std::int64_t sequence) {
    stored(generation, sequence);
  };
  observer.truncated = [this](std::int64_t step) { note_failure(store_.truncate_after(step)); };
  return observer;
}

Expected<RehearsalResult> Rehearsal::run() {
  // No process stands behind it, and two rehearsals shall not differ by their processes.
  WEFT_TRY(store_.describe({{"synthetic", true}, {"pid", 0}}));
  event("rehearsal",
        fmt::format("[synthetic] rehearsal with {} virtual ranks on {} nodes ({} of them spare); "
                    "no model is trained; step times: {}",
                    layout().world(), grid_.nodes, options_.spares, times_.costs().basis));
  open_stages();
  plan_faults();
  events_.at(at(options_.horizon), [this] { stop_soon(); });
  const auto begun = std::chrono::steady_clock::now();
  const double limit = options_.horizon + 86400;
  while (!events_.empty() && !world_.deserted() && !failure_) {
    if (seconds(events_.next().time_since_epoch()) > limit) break;
    if (options_.speed > 0)
      std::this_thread::sleep_until(
          begun + from_seconds(seconds(events_.next().time_since_epoch()) / options_.speed));
    events_.step();
    if (observer_.stop && observer_.stop()) stop_soon();
  }
  if (failure_) return tl::unexpected(*failure_);
  lose_until_now();
  WEFT_TRY(write_rings());
  RehearsalResult result;
  const Outcome outcome = world_.end().outcome;
  result.reason = outcome == Outcome::Undecided ? "it did not come to an end" : world_.end().reason;
  result.state = outcome == Outcome::Finished  ? RunState::Finished
                 : outcome == Outcome::Stopped ? RunState::Stopped
                                               : RunState::Failed;
  result.steps = step_;
  result.generations = generation_;
  result.terms = world_.directory().highest_term();
  result.faults = faults_;
  result.lost_steps = static_cast<int>(lost_steps_);
  result.simulated_seconds = now();
  result.goodput = goodput_;
  return result;
}

/// Heard at once, it is known to every agent at the pace of a living control plane.
void Rehearsal::stop_soon() {
  set_calm(false);
  world_.ask(world_.now() + std::chrono::seconds(5), StopAsked{});
}

Expected<void> Rehearsal::write_rings() {
  if (job_.trace.steps == 0) return {};
  return write_virtual_rings(store_.paths().traces(), layout(), times_, traced_,
                             job_.recipe[place_of_step(std::max<std::int64_t>(1, step_)).stage],
                             store_.attempt(), clock_.wall_now() - clock_.now().time_since_epoch());
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
                                   RunStore& store, sim::SimulatedClock& clock,
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
