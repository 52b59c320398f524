#include "runtime/worker/virtual_times.h"

#include <cmath>
#include <map>
#include <tuple>

namespace weft::runtime {

using dualpipe::Action;
using dualpipe::Op;
using dualpipe::PairTime;
using dualpipe::Part;
using dualpipe::Pass;
using dualpipe::Phase;
using dualpipe::PhaseKind;
using dualpipe::PhaseStep;

namespace {

/// The part [from, to) of a length, such that neighbouring parts add up to the whole.
Duration part_of(Duration whole, double from, double to) {
  const auto at = [&](double share) {
    return std::llround(static_cast<double>(whole.count()) * share);
  };
  return Duration(at(to) - at(from));
}

Duration compute_of(const VirtualTimes& times, int stage, const PhaseStep& step) {
  const Duration whole = !step.backward                     ? times.forward
                         : step.phase.part == Part::Weights ? times.weight
                                                            : times.backward_input;
  const bool scaled = !times.stage_factors.empty();
  const double factor = scaled ? times.stage_factors[static_cast<std::size_t>(stage)] : 1.0;
  return Duration(std::llround(static_cast<double>(whole.count()) * factor));
}

PairTime& operator+=(PairTime& sum, const PairTime& one) {
  sum.total += one.total;
  sum.compute += one.compute;
  sum.exchange += one.exchange;
  sum.exposed += one.exposed;
  return sum;
}

}  // namespace

std::vector<Phase> virtual_phases(const VirtualTimes& times, Pass pass) {
  std::vector<Phase> phases;
  const auto exchange = [&](PhaseKind kind, int layer, Part part) {
    if (times.exchanges()) phases.push_back({kind, layer, part});
  };
  if (pass == Pass::Forward) {
    for (int layer = 0; layer < times.layers; ++layer) {
      phases.push_back({PhaseKind::Attention, layer, Part::Whole});
      exchange(PhaseKind::Dispatch, layer, Part::Whole);
      phases.push_back({PhaseKind::Experts, layer, Part::Whole});
      exchange(PhaseKind::Combine, layer, Part::Whole);
    }
    return phases;
  }
  for (int layer = times.layers - 1; layer >= 0; --layer) {
    exchange(PhaseKind::Combine, layer, Part::Input);
    phases.push_back({PhaseKind::Experts, layer, Part::Input});
    phases.push_back({PhaseKind::Experts, layer, Part::Weights});
    exchange(PhaseKind::Dispatch, layer, Part::Input);
    phases.push_back({PhaseKind::Attention, layer, Part::Input});
    phases.push_back({PhaseKind::Attention, layer, Part::Weights});
  }
  return phases;
}

Duration length_of(const VirtualTimes& times, int stage, const PhaseStep& step) {
  const Phase& phase = step.phase;
  const double begin = phase.layer, layers = times.layers;
  if (dualpipe::communicates(phase)) {
    const double first = 2 * begin + (phase.kind == PhaseKind::Combine ? 1 : 0);
    return part_of(times.exchange, first / (2 * layers), (first + 1) / (2 * layers));
  }
  const double middle = (begin + times.attention_share) / layers;
  const Duration whole = compute_of(times, stage, step);
  return phase.kind == PhaseKind::Attention ? part_of(whole, begin / layers, middle)
                                            : part_of(whole, middle, (begin + 1) / layers);
}

PairTime time_of(const VirtualTimes& times, const Action& action, bool overlap) {
  const auto forward = virtual_phases(times, Pass::Forward);
  const auto backward = virtual_phases(times, Pass::Backward);
  const int backward_stage = action.op == Op::FB ? action.other.stage : action.chunk.stage;
  return dualpipe::cost_moves(
      dualpipe::moves_of(action.op, forward, backward, overlap), [&](const PhaseStep& step) {
        const int stage = step.backward ? backward_stage : action.chunk.stage;
        return static_cast<double>(length_of(times, stage, step).count());
      });
}

Expected<VirtualPlan> plan_virtual(const scheduler::Layout& layout, const VirtualTimes& times,
                                   bool overlap, Duration latency) {
  WEFT_TRY_ASSIGN(const dualpipe::Schedule schedule,
                  dualpipe::generate(layout.kind, {layout.pipeline, layout.micro_batches}));
  VirtualPlan plan;
  plan.schedule = dualpipe::add_step_end(dualpipe::add_messages(schedule));
  // A step has many actions of few kinds.
  std::map<std::tuple<Op, int, int>, PairTime> known;
  const auto time = [&](const Action& action) -> const PairTime& {
    const int other = action.op == Op::FB ? action.other.stage : -1;
    const auto [found, is_new] = known.try_emplace({action.op, action.chunk.stage, other});
    if (is_new) found->second = time_of(times, action, overlap);
    return found->second;
  };
  dualpipe::Costs costs;
  costs.send = static_cast<double>(latency.count());
  costs.of_action = [&](int, const Action& action) { return time(action).total; };
  WEFT_TRY_ASSIGN(plan.timeline, dualpipe::timeline(plan.schedule, costs));
  for (const auto& program : schedule.programs)
    for (const Action& action : program) {
      plan.all += time(action);
      if (action.op == Op::FB) plan.pairs += time(action);
    }
  return plan;
}

}  // namespace weft::runtime
