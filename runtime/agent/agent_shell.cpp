#include "runtime/agent/agent_shell.h"

#include <poll.h>

#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/agent/claims.h"
#include "runtime/agent/memory_root.h"
#include "runtime/agent/node_metrics.h"
#include "runtime/agent/signals.h"
#include "runtime/agent/spool.h"
#include "runtime/agent/worker_set.h"
#include "runtime/control/messages.h"
#include "runtime/control/wire_error.h"
#include "runtime/log/log.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr std::chrono::milliseconds kTick{100};
constexpr Duration kStoppedBound = std::chrono::seconds(3);  // then a stopped worker is a dead one
constexpr Duration kCoordinatorSilent = std::chrono::seconds(8);  // then our own is ended
constexpr int kSilentLooks = 8;
constexpr Duration kAppendAgain = std::chrono::milliseconds(500);  // after the disk refused
constexpr Duration kLastWords = std::chrono::seconds(10);          // for the coordinator's own end

class AgentShell {
 public:
  AgentShell(const Job& job, const AgentSetup& setup, const RunObserver& observer,
             const Clock& clock)
      : job_(job), setup_(setup), observer_(observer), clock_(clock) {}

  RunResult run() {
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

 private:
  using BytesKey = std::tuple<std::int64_t, int, std::int64_t>;  // generation, rank, sequence

  Expected<void> begin() {
    WEFT_TRY_ASSIGN(spool_, SpoolWriter::open(setup_.paths.spool(), setup_.node));
    options_.heartbeat =
        std::chrono::nanoseconds(static_cast<std::int64_t>(job_.control.heartbeat_s * 1e9));
    options_.alone = setup_.alone;
    state_ = start_agent(setup_.node, spool_->incarnation(), setup_.facts, clock_.now());
    if (setup_.metrics.empty()) return {};
    WEFT_TRY_ASSIGN(metrics_, NodeMetrics::serve(setup_.metrics, setup_.paths.root));
    log_reason("serves this node's metrics at http://" + metrics_->address() + "/metrics");
    return {};
  }

  static RunResult failed(const Error& error) {
    RunResult result;
    result.error = error;
    result.reason = error.message;
    return result;
  }

  // --- What comes in ---------------------------------------------------------------------------

  void wait() {
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
  void keep(SpoolRecord record) {
    const json message = json::parse(record.message, nullptr, false);
    const std::string type = message.value("type", "");
    if (type == "metrics" && observer_.step) observer_.step(message["record"]);
    if (type == "event" && observer_.event)
      observer_.event(message.value("kind", ""), message.value("message", ""));
    bytes_[{record.generation, record.rank, record.key.sequence}] = std::move(record);
  }

  void hear_leader() {
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

  void forget(const Acknowledgement& stored) {
    auto at = bytes_.lower_bound({stored.generation, stored.rank, 0});
    while (at != bytes_.end() && std::get<0>(at->first) == stored.generation &&
           std::get<1>(at->first) == stored.rank && std::get<2>(at->first) < stored.next)
      at = bytes_.erase(at);
    if (bytes_.empty()) spool_->all_stored(false);
  }

  void hear_coordinator() {
    if (!child_) return;
    for (const json& said : child_->hear()) take_status(said);
    if (const auto exited = child_->ended()) {
      for (const json& said : child_->hear()) take_status(said);
      CoordinatorExited event = *exited;
      if (!said_.empty()) event.reason = said_;
      if (conclusion_) event.outcome = conclusion_->outcome;
      child_.reset();
      tell(event);
    }
  }

  void take_status(const json& said) {
    const std::string type = said["type"];
    if (type == "listening") {
      connect_to(said.value("endpoint", ""));
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
  void look_for_stopped() {
    const Instant now = clock_.now();
    if (!workers_ || now < next_look_) return;
    next_look_ = now + kStoppedBound / 3;
    const std::vector<int> stopped = workers_->stopped();
    std::erase_if(looks_stopped_, [&](const auto& one) {
      return std::ranges::find(stopped, one.first) == stopped.end();
    });
    for (const int rank : stopped)
      if (++looks_stopped_[rank] == 4)
        tell(
            WorkerFailed{workers_->generation(), rank,
                         Error{Code::DeadlineExceeded,
                               "it was stopped by a signal and did not go on for " +
                                   std::to_string(static_cast<int>(seconds(kStoppedBound))) + " s"},
                         -1, ""});
  }

  /// A coordinator of ours that exists and does not answer is ended; another takes over from its
  /// journal. Counted in looks, so that time in which we were stopped ourselves does not count.
  void look_after_coordinator() {
    const Instant now = clock_.now();
    if (now < next_coordinator_look_) return;
    next_coordinator_look_ = now + kCoordinatorSilent / kSilentLooks;
    const bool silent = child_ && client_ && state_.coordinator_term == child_->term() &&
                        now - state_.election.last_heard > kCoordinatorSilent / 2;
    silent_looks_ = silent ? silent_looks_ + 1 : 0;
    if (silent_looks_ < kSilentLooks) return;
    silent_looks_ = 0;
    log_reason("our coordinator has not answered for " +
               std::to_string(static_cast<int>(seconds(now - state_.election.last_heard))) +
               " s: it is ended, and another one goes on");
    child_->kill();
  }

  void tell_metrics() {
    const Instant now = clock_.now();
    if (!metrics_ || now < next_metrics_) return;
    next_metrics_ = now + options_.heartbeat;
    metrics_->set(figures_of(state_));
  }

  // --- Deciding and doing ----------------------------------------------------------------------

  void tell(AgentEvent event) {
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

  void log_reason(const std::string& reason) {
    if (observer_.event) observer_.event("agent", reason);
  }

  void act(const MakeWorld& make) {
    looks_stopped_.clear();
    workers_.reset();
    world_error_.clear();
    WorkerSetOptions options;
    options.generation = make.generation;
    options.world = job_.parallel.pipeline * job_.parallel.data;
    options.paths = setup_.paths;
    for (const RankSlot& slot : make.ranks) options.ranks.push_back(slot.rank);
    options.listen = setup_.listen;
    options.node = setup_.node;
    options.leaf = setup_.facts.leaf;
    options.secret =
        derive_secret(setup_.keys, "ranks of generation " + std::to_string(make.generation));
    find_memory(options);
    auto made = WorkerSet::make(job_, std::move(options));
    if (made)
      workers_ = std::move(*made);
    else
      world_error_ = made.error().message;
  }
  /// Where the workers may keep copies of their state that outlive them.
  void find_memory(WorkerSetOptions& options) {
    if (job_.checkpoint.memory_every_steps == 0) return;
    if (!memory_) {
      auto made = MemoryRoot::make(setup_.paths.root, setup_.node);
      if (made)
        memory_ = std::move(*made);
      else
        options.no_memory = made.error().message;
    }
    if (memory_) options.memory = memory_->path();
  }
  void act(const SpawnWorker& spawn) {
    std::string error = world_error_;
    if (workers_ && workers_->generation() == spawn.generation) {
      const auto spawned = workers_->spawn_worker(spawn.where.rank);
      if (spawned) return;
      error = spawned.error().message;
    }
    tell(WorkerExited{spawn.generation, spawn.where.rank, 0, 0, error});
  }
  void act(const AssignWorker& assign) {
    if (has(assign.generation))
      workers_->assign(assign.rank, assign.resume, assign.addresses.get());
  }
  void act(const TellStop& stop) {
    if (workers_) workers_->ask_to_stop(stop.rank);
  }
  void act(const TellSave& save) {
    if (workers_) workers_->ask_to_save(save.rank, save.save);
  }
  void act(const TellShutdown& shutdown) {
    if (workers_) workers_->let_go(shutdown.rank);
  }
  void act(const AbortWaits& abort) {
    if (has(abort.generation)) workers_->abort(abort.reason);
  }
  void act(const KillWorker& kill) {
    if (has(kill.generation)) workers_->kill(kill.rank, kill.hard);
  }
  void act(const AppendSpool& append) {
    appends_.push_back(append);
    if (appends_.size() == 1) append_all();
  }
  /// In order; what the disk refuses stays first and is tried again.
  void append_all() {
    for (; !appends_.empty(); appends_.pop_front()) {
      const AppendSpool& next = appends_.front();
      const auto found = bytes_.find({next.generation, next.rank, next.key.sequence});
      if (found != bytes_.end())
        if (const auto written = spool_->append(found->second); !written) {
          next_append_ = clock_.now() + kAppendAgain;
          return tell(SpoolFailed{written.error()});
        }
      tell(SpoolWritten{next.generation, next.rank, next.key.sequence + 1});
    }
  }
  void act(const AnswerFlush& answer) {
    if (!workers_) return;
    if (const auto synced = spool_->sync(); !synced) log_warning(synced.error().message);
    workers_->answer_flush(answer.rank, answer.id);
  }
  void act(const SendReport& send) { post(send.report); }
  void act(const SendRecords& send) {
    RecordsMessage message{send.records, {}};
    for (const RecordKey& key : send.records.keys) {
      const auto found = bytes_.find({send.records.generation, send.records.rank, key.sequence});
      message.payload.push_back(found == bytes_.end() ? "" : found->second.message);
    }
    post(message);
  }
  void post(const WireMessage& message) {
    if (client_) client_->send(encode(message));
  }

  void act(const ReadClaims&) { tell_claims(); }
  void tell_claims() {
    auto claims = read_claims(setup_.paths);
    if (claims)
      tell(ClaimsRead{std::move(*claims)});
    else
      tell(ClaimsUnreadable{claims.error()});
  }
  void act(const ClaimTerm& claim) {
    Claim ours;
    ours.term = claim.term;
    ours.node = setup_.node;
    ours.incarnation = spool_->incarnation();
    const auto won = take_term(setup_.paths, ours);
    if (!won) tell(ClaimsUnreadable{won.error()});
    tell(ClaimDecided{claim.term, won && *won});
  }
  void act(const StartCoordinator& start) {
    child_.reset();
    said_.clear();
    CoordinatorSetup setup{setup_.paths.root, start.term,  setup_.node, spool_->incarnation(),
                           setup_.listen,     setup_.port, false,       setup_.keys};
    auto started = CoordinatorChild::start(setup, setup_.paths.logs() / "coordinator.log");
    if (started) {
      child_ = std::move(*started);
    } else {
      log_error(started.error().message);
      tell(CoordinatorExited{start.term, CoordinatorExited::How::Crashed, Outcome::Undecided,
                             started.error().message});
    }
  }
  void act(const KillCoordinator&) {
    if (child_) child_->kill();
  }
  void act(const Connect& connect) {
    client_.reset();
    // Our own coordinator says where it listens once it does.
    if (!connect.leader.endpoint.empty()) connect_to(connect.leader.endpoint);
  }
  void connect_to(const std::string& endpoint) {
    auto client = ChannelClient::connect(endpoint, setup_.node, setup_.keys);
    if (!client) return log_error(client.error().message);
    client_ = std::move(*client);
    tell(LeaderConnected{});
  }
  void act(const LeaveRun& leave) {
    left_ = true;
    leaving_ = leave;
  }
  bool has(std::int64_t generation) const {
    return workers_ && workers_->generation() == generation;
  }

  // --- The end ---------------------------------------------------------------------------------

  RunResult end() {
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
    if (refused_) return failed(*refused_);
    RunResult result;
    if (leaving_) {
      result.outcome =
          leaving_->outcome == Outcome::Undecided ? Outcome::Failed : leaving_->outcome;
      result.reason = leaving_->reason;
      result.error = {Code::Unavailable, leaving_->reason};
    }
    return result;
  }

  const Job& job_;
  const AgentSetup& setup_;
  const RunObserver& observer_;
  const Clock& clock_;
  AgentOptions options_;
  SignalDescriptor signals_;
  AgentState state_;
  std::unique_ptr<SpoolWriter> spool_;
  /// Outlives the workers; null: not needed yet, or there is none.
  std::unique_ptr<MemoryRoot> memory_;
  std::unique_ptr<WorkerSet> workers_;
  std::string world_error_;  // why there is none
  std::unique_ptr<CoordinatorChild> child_;
  std::unique_ptr<NodeMetrics> metrics_;  // null: not served
  Instant next_metrics_{};
  std::unique_ptr<ChannelClient> client_;
  std::map<BytesKey, SpoolRecord> bytes_;  // of records that are not stored yet
  std::deque<AppendSpool> appends_;        // not in the spool file yet
  Instant next_append_{};                  // when what failed is tried again
  std::map<int, int> looks_stopped_;       // how often a rank was seen to stand still, in a row
  Instant next_look_{};
  Instant next_coordinator_look_{};
  int silent_looks_ = 0;  // in a row at which our coordinator had said nothing for long
  std::deque<AgentEvent> events_;
  bool telling_ = false;
  bool left_ = false;
  std::optional<LeaveRun> leaving_;
  std::optional<RunResult> conclusion_;  // as our coordinator said
  std::optional<Error> refused_;
  std::string said_;  // why our coordinator ended
};

}  // namespace

RunResult run_agent(const Job& job, const AgentSetup& setup, const RunObserver& observer,
                    const Clock& clock) {
  return AgentShell(job, setup, observer, clock).run();
}

}  // namespace weft::runtime
