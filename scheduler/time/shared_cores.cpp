#include "scheduler/time/shared_cores.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "dualpipe/flow.h"
#include "scheduler/time/step_end.h"

namespace weft::scheduler {
namespace {

using dualpipe::Action;
using dualpipe::Chunk;
using dualpipe::Op;

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kMost = 4e6;  // actions times workers

struct Worker {
  int lane = 0, position = 0;
  std::size_t next = 0;
  double free = 0;        // its last action has ended
  double ready = kNever;  // its next one could begin; never: what it needs is not there
};

class SharedCores {
 public:
  SharedCores(const dualpipe::Schedule& schedule, int lanes, int cores, double send, double wakeup,
              const std::function<double(const Action&)>& seconds_of)
      : schedule_(schedule),
        flow_(schedule),
        send_(send),
        wakeup_(wakeup),
        seconds_of_(seconds_of),
        cores_(static_cast<std::size_t>(cores), 0.0) {
    for (int lane = 0; lane < lanes; ++lane)
      for (int p = 0; p < schedule.ranks; ++p) workers_.push_back({.lane = lane, .position = p});
    for (auto& made : made_) made.assign(static_cast<std::size_t>(lanes * flow_.size()), kNever);
  }

  double run() {
    for (Worker& worker : workers_) look(worker);
    while (Worker* worker = first_ready()) carry_out(*worker);
    double end = 0;
    for (const Worker& worker : workers_) end = std::max(end, worker.free);
    return end;
  }

 private:
  const std::vector<Action>& program(const Worker& worker) const {
    return schedule_.programs[static_cast<std::size_t>(worker.position)];
  }

  Worker* first_ready() {
    Worker* first = nullptr;
    for (Worker& worker : workers_)
      if (worker.ready < kNever && (first == nullptr || worker.ready < first->ready))
        first = &worker;
    return first;
  }

  void carry_out(Worker& worker) {
    const Action& action = program(worker)[worker.next];
    double& core = *std::ranges::min_element(cores_);
    const double seconds = dualpipe::is_compute(action.op) ? seconds_of_(action) : 0;
    worker.free = std::max(worker.ready, seconds > 0 ? core : 0.0) + seconds;
    if (seconds > 0) core = worker.free;
    ++worker.next;
    if (action.op == Op::F || action.op == Op::FB) made(worker, false, action.chunk) = worker.free;
    if (action.op == Op::B || action.op == Op::BI) made(worker, true, action.chunk) = worker.free;
    if (action.op == Op::FB) made(worker, true, action.other) = worker.free;
    for (Worker& other : workers_)
      if (&other == &worker || (other.lane == worker.lane && other.ready == kNever)) look(other);
  }

  double& made(const Worker& worker, bool gradient, const Chunk& chunk) {
    return made_[gradient][static_cast<std::size_t>(worker.lane * flow_.size() + flow_.id(chunk))];
  }

  /// When could its next action begin?
  void look(Worker& worker) {
    worker.ready = kNever;
    if (worker.next == program(worker).size()) return;
    const Action& action = program(worker)[worker.next];
    double message = 0;  // the last one is there
    const auto needs = [&](const std::optional<Chunk>& chunk, bool gradient) {
      if (!chunk) return;
      const bool here = flow_.position(*chunk) == worker.position;
      message = std::max(message, made(worker, gradient, *chunk) + (here ? 0 : send_));
    };
    if (action.op == Op::F || action.op == Op::FB) needs(flow_.before(action.chunk), false);
    if (action.op == Op::B || action.op == Op::BI) needs(flow_.after(action.chunk), true);
    if (action.op == Op::FB) needs(flow_.after(action.other), true);
    worker.ready = message > worker.free ? message + wakeup_ : worker.free;
  }

  const dualpipe::Schedule& schedule_;
  dualpipe::Flow flow_;
  double send_, wakeup_;
  const std::function<double(const Action&)>& seconds_of_;
  std::vector<double> cores_;  // when each is free
  std::vector<Worker> workers_;
  std::vector<double> made_[2];  // when: activations, gradients; by lane and chunk
};

}  // namespace

double shared_makespan(const dualpipe::Schedule& schedule, const Work& work, const Cluster& cluster,
                       const std::function<double(const Action&)>& seconds_of, double send) {
  if (cores_shared_by(work, cluster) <= 1) return 0;
  // Of a job over several nodes: those of one.
  const int lanes = std::clamp(cluster.gpus_per_node() / schedule.ranks, 1, work.layout.data);
  double actions = 0;
  for (const auto& program : schedule.programs) actions += static_cast<double>(program.size());
  if (actions * lanes * schedule.ranks * lanes > kMost) return 0;
  const int cores = std::max(1, static_cast<int>(cluster.node.cores.value));
  return SharedCores(schedule, lanes, cores, send, cluster.node.wakeup, seconds_of).run();
}

}  // namespace weft::scheduler
