#include "runtime/agent/agent_loop.h"

#include <poll.h>

#include <nlohmann/json.hpp>

#include "runtime/log/log.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr std::chrono::milliseconds kTick{100};
constexpr Duration kLastWords = std::chrono::seconds(10);  // for the coordinator's own end

}  // namespace

RunResult AgentLoop::run() {
  if (const auto begun = begin(); !begun) return failed(begun.error());
  while (!left_) {
    wait();
    const SignalDescriptor::Asked asked = signals_.take();
    for (int i = 0; i < asked.stops; ++i) tell(AgentStopAsked{});
    if (asked.saves > 0) tell(AgentSaveAsked{});
    hear_leader();
    hear_coordinator();
    look_for_stopped();
    look_after_coordinator();
    if (clock_.now() >= next_append_) append_all();
    tell(AgentTick{});
    tell_metrics();
  }
  return end();
}

Expected<void> AgentLoop::begin() {
  WEFT_TRY_ASSIGN(spool_, SpoolWriter::open(setup_.paths.spool(), setup_.node));
  options_.heartbeat =
      std::chrono::nanoseconds(static_cast<std::int64_t>(job_.control.heartbeat_s * 1e9));
  options_.storage_bound =
      std::chrono::nanoseconds(static_cast<std::int64_t>(job_.control.disk_wait_s * 1e9));
  options_.alone = setup_.alone;
  state_ = start_agent(setup_.node, spool_->incarnation(), setup_.facts, clock_.now());
  if (setup_.metrics.empty()) return {};
  WEFT_TRY_ASSIGN(metrics_, NodeMetrics::serve(setup_.metrics, setup_.paths.root));
  log_reason("serves this node's metrics at http://" + metrics_->address() + "/metrics");
  return {};
}

// --- What comes in ------------------------------------------------------------------------------

void AgentLoop::wait() {
  const auto bound = client_ && client_->ready() ? std::chrono::milliseconds(0) : kTick;
  std::vector<int> descriptors = {signals_.get()};
  if (client_) descriptors.push_back(client_->descriptor());
  if (child_) descriptors.push_back(child_->descriptor());
  if (!workers_) {
    std::vector<pollfd> polled;
    for (const int descriptor : descriptors) polled.push_back({descriptor, POLLIN, 0});
    ::poll(polled.data(), polled.size(), static_cast<int>(bound.count()));
    return;
  }
  auto news = workers_->poll(bound, descriptors);
  if (!news) {
    log_error(news.error().message);
    return;
  }
  std::size_t next = 0;
  for (const AgentEvent& event : news->events) {
    if (std::holds_alternative<RecordMade>(event)) keep(std::move(news->records[next++]));
    tell(event);
  }
}

/// A record's bytes stay here until it is stored; whoever sits at the terminal sees it at once.
void AgentLoop::keep(SpoolRecord record) {
  const json message = json::parse(record.message, nullptr, false);
  const std::string type = message.value("type", "");
  if (type == "metrics" && observer_.step) observer_.step(message["record"]);
  if (type == "event" && observer_.event)
    observer_.event(message.value("kind", ""), message.value("message", ""));
  bytes_[{record.generation, record.rank, record.key.sequence}] = std::move(record);
}

void AgentLoop::hear_leader() {
  std::string bytes;
  while (client_ && client_->receive(bytes)) {
    auto message = decode(bytes);
    if (!message) {
      log_warning("dropped what the coordinator sent: " + message.error().message);
    } else if (const auto* order = std::get_if<Order>(&*message)) {
      tell(*order);
    } else if (const auto* beat = std::get_if<Beat>(&*message)) {
      tell(*beat);
    } else if (const auto* stored = std::get_if<Acknowledgement>(&*message)) {
      forget(*stored);
      tell(*stored);
    } else if (const auto* refusal = std::get_if<RefusalMessage>(&*message)) {
      refused_ = Error{Code::Unsupported, refusal->reason};
      left_ = true;
    }
  }
}

void AgentLoop::forget(const Acknowledgement& stored) {
  auto at = bytes_.lower_bound({stored.generation, stored.rank, 0});
  while (at != bytes_.end() && std::get<0>(at->first) == stored.generation &&
         std::get<1>(at->first) == stored.rank && std::get<2>(at->first) < stored.next)
    at = bytes_.erase(at);
  if (bytes_.empty()) spool_->all_stored(false);
}

// --- Deciding -----------------------------------------------------------------------------------

void AgentLoop::tell(AgentEvent event) {
  events_.push_back(std::move(event));
  if (telling_) return;  // an action's result: after the actions before it
  telling_ = true;
  while (!events_.empty()) {
    const AgentEvent next = std::move(events_.front());
    events_.pop_front();
    AgentDecision decision = agent_decide(std::move(state_), next, clock_.now(), options_);
    state_ = std::move(decision.state);
    if (!decision.reason.empty()) log_reason(decision.reason);
    for (const AgentAction& action : decision.actions)
      std::visit([this](const auto& what) { act(what); }, action);
  }
  telling_ = false;
}

void AgentLoop::log_reason(const std::string& reason) {
  if (observer_.event) observer_.event("agent", reason);
}

// --- The end ------------------------------------------------------------------------------------

RunResult AgentLoop::end() {
  // Our coordinator, if we have one, says how it was, and writes it down.
  const Instant until = clock_.now() + kLastWords;
  while (child_ && clock_.now() < until) {
    for (const json& said : child_->hear()) take_status(said);
    if (child_->ended()) break;
    pollfd polled = {child_->descriptor(), POLLIN, 0};
    ::poll(&polled, 1, 20);
  }
  if (child_)
    for (const json& said : child_->hear()) take_status(said);
  workers_.reset();
  memory_.reset();
  child_.reset();
  if (bytes_.empty()) spool_->all_stored(true);
  if (conclusion_) return *conclusion_;
  // Another node's may have led the run to a good end since.
  const bool good =
      leaving_ && (leaving_->outcome == Outcome::Finished || leaving_->outcome == Outcome::Stopped);
  if (refused_ && !good) return failed(*refused_);
  RunResult result;
  if (leaving_) {
    result.outcome = leaving_->outcome == Outcome::Undecided ? Outcome::Failed : leaving_->outcome;
    result.reason = leaving_->reason;
    result.error = {leaving_->code, leaving_->reason};
  }
  return result;
}

RunResult AgentLoop::failed(const Error& error) {
  RunResult result;
  result.error = error;
  result.reason = error.message;
  return result;
}

}  // namespace weft::runtime
