#include "scheduler/time/step_time.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "scheduler/time/exchange.h"
#include "scheduler/time/shared_cores.h"
#include "scheduler/time/step_end.h"

namespace weft::scheduler {

using dualpipe::Action;
using dualpipe::Op;
using dualpipe::PairTime;
using dualpipe::Part;
using dualpipe::Pass;
using dualpipe::Phase;
using dualpipe::PhaseKind;
using dualpipe::PhaseStep;

namespace {

/// Seconds of every action of a step; each kind of action is worked out once.
class ActionCosts {
 public:
  ActionCosts(const Work& work, const Cluster& cluster, const TimeAssumptions& assumptions,
              std::vector<StageBlocks> stages)
      : work_(work), cluster_(cluster), assumptions_(assumptions), stages_(std::move(stages)) {
    for (const StageBlocks& stage : stages_) {
      forward_.push_back(stage_phases(work, stage, Pass::Forward));
      backward_.push_back(stage_phases(work, stage, Pass::Backward));
    }
  }

  struct Cost {
    PairTime time;
    double weights = 0;  // of the total, spent in weight gradients (passes alone)
  };

  const Cost& of(const Action& action) {
    const bool pair = action.op == Op::FB;
    const auto [found, is_new] =
        known_.try_emplace({action.op, action.chunk.stage, pair ? action.other.stage : -1});
    if (is_new) found->second = work_out(action);
    return found->second;
  }

 private:
  Cost work_out(const Action& action) {
    const bool pair = action.op == Op::FB;
    const auto f = static_cast<std::size_t>(action.chunk.stage);
    const auto b = static_cast<std::size_t>(pair ? action.other.stage : action.chunk.stage);
    const bool merged = pair && work_.overlap;
    const auto moves = dualpipe::moves_of(action.op, forward_[f], backward_[b], merged);
    Cost cost;
    bool communicated = false;
    cost.time = dualpipe::cost_moves(moves, [&](const PhaseStep& step) {
      const StageBlocks& stage = stages_[step.backward ? b : f];
      const double seconds = phase(stage, step, merged);
      if (step.phase.part == Part::Weights) cost.weights += seconds;
      communicated |= dualpipe::communicates(step.phase);
      return seconds;
    });
    // A CPU worker moves its rows itself: nothing goes on beside its computing.
    if (cluster_.node.cores > 0) {
      cost.time.exposed = cost.time.exchange;
      cost.time.total = cost.time.compute + cost.time.exchange;
    } else if (merged && communicated) {
      cost.time.total += assumptions_.pair_idle * cost.time.compute;
    }
    return cost;
  }

  double phase(const StageBlocks& stage, const PhaseStep& step, bool merged) {
    const Block block = block_at(stage, step.phase.layer);
    const bool head = step.phase.kind == PhaseKind::Head;
    const auto key = std::tuple(step.backward, step.phase.kind, step.phase.part, block, merged,
                                head ? stage.next_token : 0);
    const auto [found, is_new] = phases_.try_emplace(key);
    if (is_new) found->second = phase_seconds(work_, cluster_, stage, step, merged, assumptions_);
    return found->second;
  }

  const Work& work_;
  const Cluster& cluster_;
  const TimeAssumptions& assumptions_;
  std::vector<StageBlocks> stages_;
  std::vector<std::vector<Phase>> forward_, backward_;
  std::map<std::tuple<Op, int, int>, Cost> known_;
  std::map<std::tuple<bool, PhaseKind, Part, Block, bool, int>, double> phases_;
};

/// An activation or gradient between neighbouring positions, which lie on different nodes unless
/// the whole stage group fits into one.
void set_messages(const Work& work, const Cluster& cluster, dualpipe::Costs& costs) {
  // This program's own workers send the residual stream as it is, in F32.
  const bool wide = work.precision == Precision::F32 || cluster.node.cores > 0;
  const double element = wide ? 4 : 2;
  costs.bytes = work.micro_batch_tokens() * work.model.hidden * element;
  const bool inside = work.layout.world() <= cluster.nvlink_gpus();
  if (inside) {
    costs.bandwidth = cluster.node.nvlink_bandwidth;
    costs.send = cluster.node.nvlink_latency;
    if (cores_shared_by(work, cluster) <= 1) costs.send += cluster.node.idle_wakeup;
    return;
  }
  costs.bandwidth = cluster.node.nic_bandwidth * cluster.node.nics / cluster.gpus_per_node() *
                    cluster.kernels.collective;
  costs.send = cluster.node.nic_latency_across;
}

/// Where workers are more than cores: their turns on them, and no less than all of their work.
void take_turns(const dualpipe::Schedule& schedule, const Work& work, const Cluster& cluster,
                const dualpipe::Costs& costs, dualpipe::Timeline& timeline) {
  const double turns = cores_shared_by(work, cluster);
  if (turns <= 1) return;
  double busy = 0;
  for (const double seconds : timeline.busy) busy += seconds;
  const double message = costs.send + (costs.bandwidth > 0 ? costs.bytes / costs.bandwidth : 0);
  const double least =
      std::max(busy / static_cast<double>(timeline.busy.size()) * turns,
               shared_makespan(
                   schedule, work, cluster,
                   [&](const Action& action) { return costs.of_action(0, action); }, message));
  if (least <= timeline.makespan) return;
  for (double& bubble : timeline.bubble) bubble += least - timeline.makespan;
  timeline.makespan = least;
}

/// How much slower all compute than one alone: by the slowest GPU; or where all cores of a host are
/// busy, as then the coordinator and the agent take their time from a worker, and caches are
/// shared.
double slowest_rank(const Work& work, const Cluster& cluster, const TimeAssumptions& assumptions) {
  if (!(cluster.node.cores > 0)) return assumptions.straggler;
  const bool lone = work.layout.world() < 2;
  const bool all_busy =
      std::min(work.layout.world(), cluster.gpus_per_node()) >= cluster.node.cores;
  return all_busy && !lone ? cluster.node.crowding.value : 1;
}

/// Adds one rank's actions.
void add_rank(const std::vector<Action>& program, ActionCosts& costs, StepTime& sum,
              std::map<Op, int>& count) {
  for (const Action& action : program) {
    const auto& cost = costs.of(action);
    ++count[action.op];
    sum.exchange += cost.time.exchange;
    sum.exposed_exchange += cost.time.exposed;
    switch (action.op) {
      case Op::F:
        sum.forward += cost.time.total;
        break;
      case Op::B:
      case Op::BI:
        sum.backward_input += cost.time.total - cost.weights;
        sum.backward_weight += cost.weights;
        break;
      case Op::W:
        sum.backward_weight += cost.time.total;
        break;
      case Op::FB:
        sum.pairs += cost.time.total;
        break;
      default:
        break;
    }
  }
}

}  // namespace

/// Rows of the busiest rank over the mean. Where workers take turns on cores it makes nobody wait:
/// the core goes to somebody else meanwhile.
double busiest_rows(const Work& work, const Cluster& cluster, const TimeAssumptions& assumptions) {
  if (cores_shared_by(work, cluster) > 1) return 1;
  return expected_imbalance(work, assumptions.load_variation);
}

double phase_seconds(const Work& work, const Cluster& cluster, const StageBlocks& stage,
                     const PhaseStep& step, bool overlapped, const TimeAssumptions& assumptions) {
  const double imbalance = busiest_rows(work, cluster, assumptions);
  if (!dualpipe::communicates(step.phase))
    return slowest_rank(work, cluster, assumptions) *
           seconds_of(work_of(work, stage, step, imbalance, assumptions.row_wise), work, cluster);
  // What a gradient does on its way back is the other direction's exchange.
  const bool turned = step.backward && step.phase.part != Part::Again;
  const bool dispatch = (step.phase.kind == PhaseKind::Dispatch) != turned;
  const ExchangeCost cost =
      exchange_cost(work, cluster, dispatch ? Direction::Dispatch : Direction::Combine, imbalance);
  const bool beside = overlapped && !(cluster.node.cores > 0);
  return cost.seconds * (beside ? assumptions.exchange_slowdown : 1);
}

Expected<StepTime> step_time(const Work& work, const Cluster& cluster,
                             const TimeAssumptions& assumptions) {
  WEFT_TRY_ASSIGN(const Placement placement,
                  place(work.layout, work.model.layers, work.model.next_token));
  WEFT_TRY_ASSIGN(
      const dualpipe::Schedule schedule,
      dualpipe::generate(work.layout.kind, {work.layout.pipeline, work.layout.micro_batches}));
  ActionCosts costs(work, cluster, assumptions, stage_blocks(work.model, placement));
  dualpipe::Costs timeline_costs;
  timeline_costs.of_action = [&](int, const Action& action) { return costs.of(action).time.total; };
  const double bare = dualpipe::simulate(schedule, timeline_costs).makespan;
  set_messages(work, cluster, timeline_costs);
  dualpipe::Timeline timeline = dualpipe::simulate(schedule, timeline_costs);
  take_turns(schedule, work, cluster, timeline_costs, timeline);
  StepTime step;
  std::map<Op, int> count;
  for (const auto& program : schedule.programs) add_rank(program, costs, step, count);
  const double ranks = schedule.ranks;
  const auto mean_of = [&](double sum, std::initializer_list<Op> ops) {
    int actions = 0;
    for (const Op op : ops) actions += count[op];
    return actions > 0 ? sum / actions : 0;
  };
  step.pair = mean_of(step.pairs, {Op::FB});
  step.forward_one = mean_of(step.forward, {Op::F});
  step.input_one = mean_of(step.backward_input, {Op::B, Op::BI});
  step.weight_one = mean_of(step.backward_weight, {Op::B, Op::W});
  for (double* part : {&step.forward, &step.backward_input, &step.backward_weight, &step.pairs,
                       &step.exchange, &step.exposed_exchange})
    *part /= ranks;
  const double busy = step.forward + step.backward_input + step.backward_weight + step.pairs;
  step.bubble = timeline.makespan - busy;
  step.bubble_of_schedule = bare - busy;
  step.rank_busy = timeline.busy;
  step.rank_bubble = timeline.bubble;
  step.imbalance = busiest_rows(work, cluster, assumptions);
  const StepEnd end = step_end(work, cluster, stage_blocks(work.model, placement));
  step.reduce = end.reduce;
  step.gather = end.gather;
  step.update = end.update;
  step.total = timeline.makespan + step.optimizer();
  return step;
}

}  // namespace weft::scheduler
