// Whom the agent watches: its coordinator, and workers that somebody stopped.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/agent/agent_loop.h"
#include "runtime/control/wire_error.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr Duration kStoppedBound = std::chrono::seconds(3);  // then a stopped worker is a dead one
constexpr Duration kCoordinatorSilent = std::chrono::seconds(8);  // then our own is ended
constexpr int kSilentLooks = 8;

}  // namespace

void AgentLoop::hear_coordinator() {
  if (!child_) return;
  for (const json& said : child_->hear()) take_status(said);
  if (const auto exited = child_->ended()) {
    for (const json& said : child_->hear()) take_status(said);
    CoordinatorExited event = *exited;
    if (!said_.empty()) event.reason = said_;
    if (conclusion_) event.outcome = conclusion_->outcome;
    // A failed run's cause is another one also where the disk alone kept its end from being told.
    event.storage = refused_ && (refused_->code == Code::Io ||
                                 clock_.now() - coordinator_waits_ < kCoordinatorSilent);
    child_.reset();
    tell(event);
  }
}

void AgentLoop::take_status(const json& said) {
  const std::string type = said["type"];
  if (type == "listening") {
    connect_to(said.value("endpoint", ""));
  } else if (type == "waits") {
    coordinator_waits_ = clock_.now();
  } else if (type == "notice") {
    if (observer_.event) observer_.event(said.value("kind", ""), said.value("message", ""));
  } else if (type == "failed") {
    refused_ = take_error(said);
    said_ = refused_->message;
  } else if (type == "ended") {
    RunResult result;
    result.error = take_error(said);
    result.reason = said.value("reason", "");
    result.culprit = said.value("culprit", -1);
    const std::string outcome = said.value("outcome", "");
    result.outcome = outcome == "finished"  ? Outcome::Finished
                     : outcome == "stopped" ? Outcome::Stopped
                                            : Outcome::Failed;
    conclusion_ = result;
  }
}

/// A worker that somebody stopped says nothing and ends nothing: it is named after a while of our
/// own running time.
void AgentLoop::look_for_stopped() {
  const Instant now = clock_.now();
  if (!workers_ || now < next_look_) return;
  next_look_ = now + kStoppedBound / 3;
  const std::vector<int> stopped = workers_->stopped();
  std::erase_if(looks_stopped_, [&](const auto& one) {
    return std::ranges::find(stopped, one.first) == stopped.end();
  });
  for (const int rank : stopped)
    if (++looks_stopped_[rank] == 4)
      tell(WorkerFailed{workers_->generation(), rank,
                        Error{Code::DeadlineExceeded,
                              "it was stopped by a signal and did not go on for " +
                                  std::to_string(static_cast<int>(seconds(kStoppedBound))) + " s"},
                        -1, ""});
}

/// A coordinator of ours that exists and does not answer is ended; another takes over from its
/// journal. Counted in looks, so that time in which we were stopped ourselves does not count.
void AgentLoop::look_after_coordinator() {
  const Instant now = clock_.now();
  if (now < next_coordinator_look_) return;
  next_coordinator_look_ = now + kCoordinatorSilent / kSilentLooks;
  const bool silent =
      child_ && client_ && state_.coordinator_term == child_->term() &&
      now - std::max(state_.election.last_heard, coordinator_waits_) > kCoordinatorSilent / 2;
  silent_looks_ = silent ? silent_looks_ + 1 : 0;
  if (silent_looks_ < kSilentLooks) return;
  silent_looks_ = 0;
  log_reason("our coordinator has not answered for " +
             std::to_string(static_cast<int>(seconds(now - state_.election.last_heard))) +
             " s: it is ended, and another one goes on");
  child_->kill();
}

void AgentLoop::tell_metrics() {
  const Instant now = clock_.now();
  if (!metrics_ || now < next_metrics_) return;
  next_metrics_ = now + options_.heartbeat;
  metrics_->set(figures_of(state_));
}

}  // namespace weft::runtime
