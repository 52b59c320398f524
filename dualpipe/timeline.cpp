#include "dualpipe/timeline.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "dualpipe/flow.h"

namespace weft::dualpipe {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

/// What an action needs or makes: the forward, the backward (for input) or nothing of a chunk.
struct Item {
  int id = 0;
  bool gradient = false;
};

class Simulation {
 public:
  Simulation(const Schedule& schedule, const Costs& costs)
      : schedule_(schedule),
        costs_(costs),
        flow_(schedule),
        next_(schedule.programs.size(), 0),
        free_(schedule.programs.size(), 0.0),
        lane_free_(schedule.programs.size(), 0.0) {
    for (auto* times : {&end_[0], &end_[1], &arrival_[0], &arrival_[1]}) {
      times->assign(static_cast<std::size_t>(flow_.size()), kNever);
    }
    for (auto& waiters : waiters_) {
      waiters.assign(static_cast<std::size_t>(flow_.size()), -1);
    }
    for (const auto& program : schedule.programs) result_.slots.emplace_back(program.size());
    result_.busy.assign(schedule.programs.size(), 0.0);
  }

  Timeline run() {
    for (int rank = static_cast<int>(next_.size()) - 1; rank >= 0; --rank) ready_.push_back(rank);
    while (!ready_.empty()) {
      const int rank = ready_.back();
      ready_.pop_back();
      while (step(rank)) {
      }
    }
    finish();
    return std::move(result_);
  }

 private:
  /// Runs the next action of the rank, or notes what it waits for.
  bool step(int rank) {
    const auto r = static_cast<std::size_t>(rank);
    const auto& program = schedule_.programs[r];
    if (next_[r] == program.size()) return false;
    const Action& action = program[next_[r]];
    double begin = free_[r];
    if (!gather(rank, action, begin)) return false;
    const double cost = is_compute(action.op) ? cost_of(rank, action) : 0.0;
    result_.slots[r][next_[r]] = {begin, begin + cost, true};
    result_.busy[r] += cost;
    free_[r] = begin + cost;
    ++next_[r];
    publish(rank, action, begin + cost);
    return true;
  }

  double cost_of(int rank, const Action& action) const {
    if (costs_.of_action) return costs_.of_action(rank, action);
    const bool shared = costs_.per_rank.empty();
    return (shared ? costs_.op : costs_.per_rank[static_cast<std::size_t>(rank)]).of(action.op);
  }

  bool gather(int rank, const Action& action, double& begin) {
    switch (action.op) {
      case Op::F:
        return forward_input(rank, action.chunk, begin);
      case Op::B:
      case Op::BI:
        return backward_input(rank, action.chunk, begin);
      case Op::FB:
        return forward_input(rank, action.chunk, begin) &&
               backward_input(rank, action.other, begin);
      case Op::W:
        return need(rank, end_[1], action.chunk, true, begin);
      default:
        return true;
    }
  }

  bool forward_input(int rank, const Chunk& chunk, double& begin) {
    const auto before = flow_.before(chunk);
    return !before || need(rank, arrival_[0], *before, false, begin);
  }

  bool backward_input(int rank, const Chunk& chunk, double& begin) {
    if (!need(rank, end_[0], chunk, false, begin)) return false;
    const auto after = flow_.after(chunk);
    return !after || need(rank, arrival_[1], *after, true, begin);
  }

  bool need(int rank, const std::vector<double>& times, const Chunk& chunk, bool gradient,
            double& begin) {
    const auto id = static_cast<std::size_t>(flow_.id(chunk));
    if (times[id] == kNever) {
      waiters_[gradient][id] = rank;
      blocked_.push_back(
          {rank, static_cast<int>(next_[static_cast<std::size_t>(rank)]), chunk, gradient});
      return false;
    }
    begin = std::max(begin, times[id]);
    return true;
  }

  void publish(int rank, const Action& action, double end) {
    if (action.op == Op::F || action.op == Op::FB) hand_over(rank, action.chunk, false, end);
    if (action.op == Op::B || action.op == Op::BI) hand_over(rank, action.chunk, true, end);
    if (action.op == Op::FB) hand_over(rank, action.other, true, end);
  }

  void hand_over(int rank, const Chunk& chunk, bool gradient, double end) {
    const auto id = static_cast<std::size_t>(flow_.id(chunk));
    end_[gradient][id] = end;
    arrival_[gradient][id] = end;
    const auto to = gradient ? flow_.before(chunk) : flow_.after(chunk);
    if (to && flow_.position(*to) != rank) {
      arrival_[gradient][id] = transfer(rank, flow_.position(*to), chunk, gradient, end);
    }
    if (int& waiter = waiters_[gradient][id]; waiter >= 0) {
      ready_.push_back(waiter);
      waiter = -1;
    }
  }

  double transfer(int from, int to, const Chunk& chunk, bool gradient, double ready) {
    double& lane = lane_free_[static_cast<std::size_t>(from)];
    const double begin = std::max(ready, lane);
    lane = begin + (costs_.bandwidth > 0 ? costs_.bytes / costs_.bandwidth : 0.0);
    const double end = lane + costs_.send;
    result_.transfers.push_back({gradient ? Op::SendB : Op::SendF, chunk, from, to, begin, end});
    return end;
  }

  void finish() {
    for (double end : free_) result_.makespan = std::max(result_.makespan, end);
    for (double busy : result_.busy) result_.bubble.push_back(result_.makespan - busy);
    for (const Stuck& stuck : blocked_) {
      const auto rank = static_cast<std::size_t>(stuck.rank);
      const bool still = next_[rank] == static_cast<std::size_t>(stuck.action);
      const bool known = !result_.stuck.empty() && result_.stuck.back().rank == stuck.rank;
      if (still && !known) result_.stuck.push_back(stuck);
    }
  }

  const Schedule& schedule_;
  const Costs& costs_;
  Flow flow_;
  std::vector<std::size_t> next_;
  std::vector<double> free_;
  std::vector<double> lane_free_;
  // Index 0: forward, 1: backward for input. By chunk id.
  std::vector<double> end_[2];
  std::vector<double> arrival_[2];
  std::vector<int> waiters_[2];
  std::vector<int> ready_;
  std::vector<Stuck> blocked_;
  Timeline result_;
};

}  // namespace

double OpCosts::of(Op op) const {
  switch (op) {
    case Op::F:
      return f;
    case Op::B:
      return b;
    case Op::BI:
      return bi;
    case Op::W:
      return w;
    case Op::FB:
      return fb;
    default:
      return 0;
  }
}

Timeline simulate(const Schedule& schedule, const Costs& costs) {
  WEFT_CHECK(costs.per_rank.empty() || costs.per_rank.size() == schedule.programs.size());
  return Simulation(schedule, costs).run();
}

Expected<void> check_shape(const Schedule& schedule) {
  const int ranks = schedule.ranks;
  if (ranks < 1 || schedule.micro_batches < 1 || schedule.chunks < 1 ||
      static_cast<double>(ranks) * schedule.micro_batches * schedule.chunks > 2e6) {
    return fail(Code::InvalidArgument,
                "ranks, micro-batches and chunks must be at least 1 and their product at most "
                "2000000");
  }
  if (schedule.programs.size() != static_cast<std::size_t>(ranks)) {
    return fail(Code::InvalidArgument, "there are " + std::to_string(schedule.programs.size()) +
                                           " programs for " + std::to_string(ranks) + " ranks");
  }
  if (schedule.kind == Kind::DualPipe && (ranks % 2 != 0 || schedule.micro_batches % 2 != 0)) {
    return fail(Code::InvalidArgument,
                "dualpipe needs an even number of ranks and of micro-batches");
  }
  return {};
}

Expected<void> check_chunks(const Schedule& schedule) {
  WEFT_TRY(check_shape(schedule));
  const Flow flow(schedule);
  for (std::size_t rank = 0; rank < schedule.programs.size(); ++rank) {
    for (const Action& action : schedule.programs[rank]) {
      if (!is_compute(action.op)) continue;
      for (const Chunk* chunk : {&action.chunk, &action.other}) {
        if (chunk == &action.other && action.op != Op::FB) continue;
        const std::string where = "rank " + std::to_string(rank) + ", " + describe(action) + ": ";
        if (!flow.valid(*chunk)) {
          return fail(Code::InvalidArgument, where + "there is no chunk " + describe(*chunk));
        }
        if (flow.position(*chunk) != static_cast<int>(rank)) {
          return fail(Code::InvalidArgument,
                      where + "that stage lies on rank " + std::to_string(flow.position(*chunk)));
        }
      }
    }
  }
  return {};
}

std::string describe(const Schedule& schedule, const Stuck& stuck) {
  const auto& program = schedule.programs[static_cast<std::size_t>(stuck.rank)];
  return "position " + std::to_string(stuck.rank) + " at " +
         describe(program[static_cast<std::size_t>(stuck.action)]) + " waits for the " +
         (stuck.gradient ? "gradient" : "activation") + " of " + describe(stuck.needs) +
         " (position " + std::to_string(Flow(schedule).position(stuck.needs)) + ")";
}

Expected<Timeline> timeline(const Schedule& schedule, const Costs& costs) {
  if (!costs.per_rank.empty() && costs.per_rank.size() != schedule.programs.size()) {
    return fail(Code::InvalidArgument,
                "costs are given for " + std::to_string(costs.per_rank.size()) +
                    " ranks, but the schedule has " + std::to_string(schedule.programs.size()));
  }
  WEFT_TRY(check_chunks(schedule));
  Timeline result = simulate(schedule, costs);
  if (result.stuck.empty()) return result;
  std::string message = "the schedule stops for ever";
  for (const Stuck& stuck : result.stuck) message += "; " + describe(schedule, stuck);
  return fail(Code::InvalidArgument, message);
}

}  // namespace weft::dualpipe
