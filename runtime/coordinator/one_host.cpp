#include "runtime/coordinator/one_host.h"

#include <algorithm>
#include <cstring>

namespace weft::runtime::one_host {
namespace {

using Phase = CoordinatorState::Phase;
using Worker = CoordinatorState::Worker;

/// One event's way through the rules.
class Decider {
 public:
  Decider(CoordinatorState state, Instant now, const CoordinatorOptions& options)
      : now_(now), options_(options) {
    decision_.state = std::move(state);
  }

  void operator()(const WorkerHello& hello) {
    if (state().phase == Phase::Ended || at(hello.rank) != Worker::Starting) return;
    at(hello.rank) = Worker::Working;
    if (state().phase != Phase::Forming) return;
    if (std::ranges::count(state().workers, Worker::Starting) > 0) return;
    state().phase = Phase::Running;
    for (int rank = 0; rank < world(); ++rank) act(SendAssignment{rank});
    decision_.reason = "all " + std::to_string(world()) + " workers are here";
    if (state().stops_asked > 0) ask_to_stop();
  }

  void operator()(const WorkerDone& done) {
    if (at(done.rank) != Worker::Working) return;
    at(done.rank) = Worker::Done;
    act(SendShutdown{done.rank});
    const bool all = std::ranges::none_of(
        state().workers, [](Worker w) { return w == Worker::Starting || w == Worker::Working; });
    if (!all || state().outcome != Outcome::Undecided) return;
    state().outcome = done.stopped_early ? Outcome::Stopped : Outcome::Finished;
    state().reason =
        done.stopped_early ? "stopped as asked; the last step is saved" : "the recipe is complete";
    begin_ending(options_.ending_bound);
    decision_.reason = state().reason;
  }

  void operator()(const WorkerFailed& failed) {
    if (at(failed.rank) != Worker::Working && at(failed.rank) != Worker::Starting) return;
    at(failed.rank) = Worker::Done;
    act(SendShutdown{failed.rank});
    fail_run(failed.rank, failed.error.code,
             "worker " + std::to_string(failed.rank) + " failed: " + failed.error.message);
  }

  void operator()(const WorkerExited& exited) {
    const Worker before = at(exited.rank);
    if (before == Worker::Gone) return;
    at(exited.rank) = Worker::Gone;
    if (before != Worker::Done)
      fail_run(exited.rank, Code::Unavailable,
               "worker " + std::to_string(exited.rank) + " died: " + describe_exit(exited));
    if (std::ranges::count(state().workers, Worker::Gone) == world()) state().phase = Phase::Ended;
  }

  void operator()(const StopAsked&) {
    ++state().stops_asked;
    if (state().stops_asked == 1 && state().phase == Phase::Running) {
      ask_to_stop();
      decision_.reason = "asked to stop: finishing the step and saving (ask again to stop at once)";
    } else if (state().stops_asked >= 2 && state().outcome == Outcome::Undecided) {
      state().outcome = Outcome::Stopped;
      state().reason = "stopped at once; the newest checkpoint stands";
      end_all();
      decision_.reason = state().reason;
    }
  }

  void operator()(const ShellFailed& failed) {
    fail_run(-1, failed.error.code, failed.error.message);
  }

  void operator()(const Tick&) {
    if (state().phase == Phase::Forming && now_ >= state().deadline) {
      const auto missing = std::ranges::find(state().workers, Worker::Starting);
      const int rank = static_cast<int>(missing - state().workers.begin());
      fail_run(rank, Code::DeadlineExceeded,
               "worker " + std::to_string(rank) + " did not report within the time for starting");
    } else if (state().phase == Phase::Ending && now_ >= state().deadline) {
      std::string stuck;
      for (int rank = 0; rank < world(); ++rank)
        if (at(rank) != Worker::Gone) {
          act(KillWorker{rank, true});
          stuck += (stuck.empty() ? "" : ", ") + std::to_string(rank);
        }
      // Of those who wait for each other, who does not even go is the likeliest cause.
      if (state().outcome == Outcome::Failed && !state().killed_hard)
        state().reason += "\n  worker " + stuck +
                          " did not answer and was killed: the others may have waited for it";
      state().killed_hard = true;
      state().deadline = now_ + options_.killing_bound;
    }
  }

  Decision take() { return std::move(decision_); }

 private:
  CoordinatorState& state() { return decision_.state; }
  Worker& at(int rank) { return state().workers[rank]; }
  int world() { return static_cast<int>(state().workers.size()); }
  void act(CoordinatorAction action) { decision_.actions.push_back(std::move(action)); }

  void ask_to_stop() {
    for (int rank = 0; rank < world(); ++rank)
      if (at(rank) == Worker::Working) act(SendStop{rank});
  }

  void begin_ending(Duration bound) {
    if (state().phase == Phase::Ended) return;
    state().phase = Phase::Ending;
    state().deadline = now_ + bound;
  }

  void end_all() {
    act(AbortWaits{state().reason});
    for (int rank = 0; rank < world(); ++rank)
      if (at(rank) != Worker::Gone) act(KillWorker{rank, false});
    begin_ending(options_.killing_bound);
  }

  void fail_run(int rank, Code code, std::string reason) {
    if (state().outcome != Outcome::Undecided) return;
    state().outcome = Outcome::Failed;
    state().culprit = rank;
    state().cause = code;
    state().reason = std::move(reason);
    decision_.reason = state().reason;
    end_all();
  }

  Instant now_;
  const CoordinatorOptions& options_;
  Decision decision_;
};

}  // namespace

CoordinatorState start_state(int world_size, Instant now, const CoordinatorOptions& options) {
  CoordinatorState state;
  state.workers.assign(world_size, Worker::Starting);
  state.deadline = now + options.forming_bound;
  return state;
}

Decision decide(CoordinatorState state, const Event& event, Instant now,
                const CoordinatorOptions& options) {
  Decider decider(std::move(state), now, options);
  std::visit(decider, event);
  return decider.take();
}

std::string describe_exit(const WorkerExited& exited) {
  if (exited.signal == 0) return "exit code " + std::to_string(exited.exit_code);
  return "signal " + std::to_string(exited.signal) + " (" + strsignal(exited.signal) + ")";
}

}  // namespace weft::runtime::one_host
