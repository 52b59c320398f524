#include "runtime/coordinator_shell/coordinator_shell.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "runtime/agent/claims.h"
#include "runtime/agent/spool.h"
#include "runtime/control/messages.h"
#include "runtime/control/wire_error.h"
#include "runtime/coordinator/state_json.h"
#include "runtime/coordinator_shell/asked.h"
#include "runtime/coordinator_shell/begin_run.h"
#include "runtime/coordinator_shell/flagged_ranks.h"
#include "runtime/coordinator_shell/record_book.h"
#include "runtime/drift/drift_json.h"
#include "runtime/drift/drift_watch.h"
#include "runtime/job/load.h"
#include "runtime/log/log.h"
#include "runtime/watch/diagnose.h"
#include "runtime/worker/peers.h"

namespace weft::runtime {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr std::chrono::milliseconds kTick{200}, kPoll{100};
constexpr std::chrono::seconds kHearing{1};  // what people ask may wait so long
constexpr std::chrono::seconds kStuck{3};
constexpr std::int64_t kKeptGenerations = 8;  // of whose records the numbers are remembered
constexpr std::size_t kBatch = 512;           // records of a spool file handed on at once

RunState run_state(Outcome outcome) {
  return outcome == Outcome::Finished  ? RunState::Finished
         : outcome == Outcome::Stopped ? RunState::Stopped
                                       : RunState::Failed;
}

Duration in_duration(double seconds) { return Duration(static_cast<std::int64_t>(seconds * 1e9)); }

/// Objects, one a line, to the agent; a full or broken pipe loses them.
class StatusPipe {
 public:
  explicit StatusPipe(int descriptor) : descriptor_(descriptor) {}
  void say(const json& what) const {
    const std::string line = what.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
    (void)!::write(descriptor_, line.data(), line.size());
  }

 private:
  int descriptor_;
};

class CoordinatorShell {
 public:
  CoordinatorShell(const CoordinatorSetup& setup, const StatusPipe& status, const Clock& clock)
      : setup_(setup), paths_{setup.run}, status_(status), clock_(clock) {}

  Expected<int> run() {
    WEFT_TRY(begin());
    while (code_ < 0) {
      WEFT_TRY_ASSIGN(const auto messages, server_->poll(waiting_.empty() ? kPoll : kPoll / 2, {}));
      for (const ChannelMessage& message : messages) take(message);
      if (clock_.now() >= next_tick_) {
        next_tick_ = clock_.now() + kTick;
        events_.push_back(Tick{});
        hear_people();
        if (should_describe_ || told_refused_ != num_refused()) describe();
        tell_drift();
      }
      work();
      if (state_.phase == RunPhase::Ended && waiting_.empty()) code_ = kCoordinatorEnded;
      if (is_stuck()) return tl::unexpected(Error{state_.cause.code, state_.reason});
    }
    return code_;
  }

 private:
  Expected<void> begin() {
    const Loaded loaded = load_job(paths_.resolved(), {.overrides = {}, .check_files = false});
    if (!loaded.ok())
      return fail(Code::Corrupt, paths_.resolved().string() + " cannot be read back");
    set_options(loaded.job);
    drift_ = DriftWatch::of(loaded.job, paths_.traces());
    WEFT_TRY_ASSIGN(server_, ChannelServer::open(setup_.host, setup_.port, setup_.keys));
    WEFT_TRY_ASSIGN(LastKnown known, last_known(paths_, setup_.term - 1, clock_.now()));
    WEFT_TRY_ASSIGN(auto store, RunStore::join(paths_.root, clock_));
    book_ = std::make_unique<RecordBook>(std::move(store));
    WEFT_TRY(book_->restore(known.entry));
    WEFT_TRY_ASSIGN(journal_, Journal::create(term_journal(paths_, setup_.term), known.entry));
    state_ = std::move(known.state);
    if (state_.outcome == Outcome::Undecided)
      WEFT_TRY(book_->store().set_state(RunState::Running, ""));
    claim_.term = setup_.term;
    claim_.node = setup_.node;
    claim_.incarnation = setup_.incarnation;
    claim_.endpoint = server_->endpoint();
    events_.push_back(TermBegan{setup_.term, setup_.node, book_->stored()});
    work();
    WEFT_TRY(write_claim(paths_, claim_));
    status_.say({{"type", "listening"}, {"endpoint", claim_.endpoint}});
    log_info("leads in term " + std::to_string(setup_.term) + " at " + claim_.endpoint);
    return {};
  }

  void set_options(const Job& job) {
    options_.heartbeat = in_duration(job.control.heartbeat_s);
    options_.fruitless_max = job.control.retries + 1;
    options_.hang_factor = job.control.hang_factor;
    options_.hang_bound_min = in_duration(job.control.hang_min_s);
    options_.storage_bound = in_duration(job.control.disk_wait_s);
    options_.swap_stragglers = job.watch.swap_stragglers;
    const ParallelJob& parallel = job.parallel;
    if (const auto kind = dualpipe::parse_kind(parallel.schedule))
      options_.layout = scheduler::Layout{*kind, parallel.pipeline, parallel.data, parallel.expert,
                                          parallel.micro_batches};
  }

  // --- What comes in ---------------------------------------------------------------------------

  void take(const ChannelMessage& incoming) {
    auto message = decode(incoming.bytes);
    if (!message) {
      ++dropped_;
      log_warning("dropped what '" + incoming.peer + "' sent: " + message.error().message);
      if (message.error().code == Code::Unsupported)
        server_->send(incoming.peer, encode(RefusalMessage{message.error().message}));
    } else if (auto* report = std::get_if<Report>(&*message)) {
      if (report->node != incoming.peer)
        ++dropped_;
      else if (report->facts && report->facts->version != build_)
        refuse_build(incoming.peer, report->facts->version);
      else
        events_.push_back(std::move(*report));
    } else if (auto* records = std::get_if<RecordsMessage>(&*message)) {
      if (records->records.node == incoming.peer)
        take_records(std::move(*records));
      else
        ++dropped_;
    } else {
      ++dropped_;  // what only a coordinator says
    }
  }

  /// Its workers could not work with the others' (they would end every generation): better now.
  void refuse_build(const std::string& node, const std::string& version) {
    ++dropped_;
    const std::string why = "node " + node + " runs another build, " + version +
                            ", than this run's coordinator, " + build_ +
                            "; run the same weft on every node";
    log_warning(why);
    server_->send(node, encode(RefusalMessage{why}));
  }

  /// The bytes wait here until the decision says which of them are wanted.
  void take_records(RecordsMessage message) {
    const Records& records = message.records;
    for (std::size_t i = 0; i < records.keys.size(); ++i)
      if (!message.payload[i].empty())
        bytes_[{records.generation, records.rank, records.keys[i].sequence}] =
            std::move(message.payload[i]);
    events_.push_back(std::move(message.records));
  }

  void hear_people() {
    if (clock_.now() < next_hearing_) return;
    next_hearing_ = clock_.now() + kHearing;
    const auto taken = take_requests(paths_);
    if (!taken) return log_warning(taken.error().message);
    for (const std::string& refused : taken->refused)
      publish("warning", "a request was refused: " + refused);
    for (const RunRequest& request : taken->requests)
      for (Event& event : events_of(request)) events_.push_back(std::move(event));
  }

  // --- Deciding and doing ----------------------------------------------------------------------

  /// Decides what has come, journals, then acts; as long as there is something.
  void work() {
    while (!events_.empty() || !waiting_.empty()) {
      while (!events_.empty()) {
        const Event event = std::move(events_.front());
        events_.pop_front();
        think(event);
      }
      if (!save()) return;
      std::deque<CoordinatorAction> actions = std::move(waiting_);
      waiting_.clear();
      for (const CoordinatorAction& action : actions)
        std::visit([this](const auto& what) { act(what); }, action);
      if (events_.empty()) bytes_.clear();
    }
  }

  void think(const Event& event) {
    const Cause before = state_.cause;
    Decision decision = decide(std::move(state_), event, clock_.now(), options_);
    state_ = std::move(decision.state);
    must_save_ |= decision.durable;
    for (CoordinatorAction& action : decision.actions) {
      // At once, so that the records behind these are wanted. What the store holds is journaled
      // before anybody is told of it.
      if (const auto* store = std::get_if<StoreRecords>(&action))
        act(*store);
      else
        waiting_.push_back(std::move(action));
    }
    if (!decision.reason.empty()) {
      const bool failure = state_.cause.kind > Cause::Kind::Planned && !(state_.cause == before);
      // While everybody still stands where it stood: no order to end has been sent.
      if (failure && diagnosed_ != state_.generation) (void)tell_who_waited();
      publish(failure ? "worker_failed" : "coordinator", decision.reason);
    }
  }

  void publish(const std::string& kind, const std::string& reason) {
    log_info(reason);
    (void)book_->store().append_event(kind, reason,
                                      {{"generation", state_.generation}, {"term", setup_.term}});
    status_.say({{"type", "notice"}, {"kind", kind}, {"message", reason}});
    last_reason_ = reason;
    should_save_ = should_describe_ = true;
  }

  /// From the ranks' rings; asks nobody, takes milliseconds.
  Expected<RunDiagnosis> tell_who_waited() {
    const bool told = std::exchange(diagnosed_, state_.generation) == state_.generation;
    auto found = diagnose_run(paths_.traces(), clock_);
    if (told || !found || found->text.empty()) return found;
    json details = to_json(*found);
    details["generation"] = state_.generation;
    (void)book_->store().append_event("diagnosis", found->text, details);
    status_.say({{"type", "notice"}, {"kind", "diagnosis"}, {"message", found->text}});
    return found;
  }

  /// How far the first steps were from what was planned, where the run knows its cluster.
  void tell_drift() {
    if (!drift_) return;
    drift_->look(book_->last_step());
    const auto found = drift_->take();
    if (!found) return;
    const bool compared = found->has_value();
    const std::string text =
        (compared ? summary(**found) : "not compared with the plan: " + found->error().message) +
        " (" + drift_->cluster().string() + ")";
    json details = compared ? to_json(**found) : json::object();
    details["cluster"] = drift_->cluster().string();
    (void)book_->store().append_event("drift", text, details);
    (void)book_->store().describe({{"drift", text}});
    drift_.reset();
  }

  /// Connections without this run's keys, and messages that were none.
  long long num_refused() const { return server_->num_refused() + dropped_; }

  void describe() {
    told_refused_ = num_refused();
    should_describe_ = false;
    RunStore& store = book_->store();
    if (state_.generation > 0 && store.attempt() != state_.generation)
      (void)store.set_attempt(static_cast<int>(state_.generation));
    json nodes = json::object();
    for (const auto& [name, node] : state_.nodes)
      nodes[name] = node.lost ? "lost" : node.left ? "left" : "here";
    json excluded = json::object();
    for (const auto& [name, ban] : state_.bans) excluded[name] = ban.reason;
    json facts = {{"generation", state_.generation},
                  {"restarts", state_.line.empty() ? 0 : state_.line.size() - 1},
                  {"term", setup_.term},
                  {"phase", to_string(state_.phase)},
                  {"nodes", nodes},
                  {"excluded", excluded},
                  {"refused_by_coordinator", told_refused_}};
    if (state_.cause.kind != Cause::Kind::None) facts["last_failure"] = state_.cause.text;
    (void)store.describe(facts);
  }

  /// False: the journal cannot be written, so nothing may be done.
  bool save() {
    // What only explains (thousands of nodes that join) waits for the next moment; nothing follows
    // from it.
    if (must_save_ || (should_save_ && clock_.now() >= next_save_)) {
      JournalEntry entry;
      forget_old_records();
      entry.state = to_json(state_, clock_.now()).dump();
      Expected<void> saved = book_->note(entry);
      if (saved) saved = journal_->save(entry, std::exchange(last_reason_, ""));
      if (!saved) return storage_failed(saved.error());
      must_save_ = should_save_ = false;
      next_save_ = clock_.now() + kTick;
    }
    if (failing_) {
      failing_ = false;
      events_.push_back(ShellRecovered{});
    }
    return true;
  }

  bool storage_failed(const Error& error) {
    log_error(error.message);
    if (failing_) return false;
    failing_ = true;
    Decision decision =
        decide(std::move(state_), ShellFailed{error, false}, clock_.now(), options_);
    state_ = std::move(decision.state);
    for (CoordinatorAction& action : decision.actions) waiting_.push_back(std::move(action));
    if (!decision.reason.empty()) log_error(decision.reason);
    return false;
  }

  void forget_old_records() {
    const std::int64_t oldest = state_.generation - kKeptGenerations;
    book_->forget_before(oldest);
  }

  void act(const SendOrder& send) { server_->send(send.node, encode(send.order)); }
  void act(const SendBeat& send) { server_->send(send.node, encode(send.beat)); }
  void act(const SendAcknowledgement& send) {
    server_->send(send.node, encode(send.acknowledgement));
  }
  void act(const ClaimGeneration& claim) {
    const auto won = take_generation(paths_, claim.number, setup_.term);
    if (!won) return fail_shell(won.error());
    could_act();
    events_.push_back(GenerationClaimed{claim.number, *won});
  }
  void act(const ListCheckpoints&) {
    auto listed = complete_checkpoints(paths_);
    if (!listed) return fail_shell(listed.error());
    events_.push_back(CheckpointsListed{std::move(*listed)});
  }
  void act(const StoreRecords& store) {
    for (const std::int64_t sequence : store.sequences) {
      const auto found = bytes_.find({store.generation, store.rank, sequence});
      if (found == bytes_.end()) return;  // asked for again
      const auto stored =
          book_->store_record(store.generation, store.rank, sequence, found->second);
      if (!stored) return fail_shell(stored.error());
      for (StragglerFlagged& flagged : flagged_in(store.generation, found->second))
        events_.push_back(std::move(flagged));
    }
    book_->set_next(store.generation, store.rank, store.next);
    must_save_ = true;
    events_.push_front(RecordsStored{store.node, store.generation, store.rank, store.next});
  }
  void act(const TruncateAfter& truncate) {
    if (const auto cut = book_->truncate_after(truncate.step); !cut) fail_shell(cut.error());
    must_save_ = true;
  }
  void act(const ReadSpool& read) {
    std::map<std::pair<std::int64_t, int>, Records> batches;
    const auto hand_on = [&](Records& batch) {
      events_.push_back(batch);
      batch.keys.clear();
    };
    long long damaged = 0;
    const fs::path file = spool_file(paths_.spool(), read.node, read.incarnation);
    const auto done = read_spool(file, damaged, [&](SpoolRecord&& record) -> Expected<void> {
      Records& batch = batches[{record.generation, record.rank}];
      batch.node = read.node;
      batch.incarnation = read.incarnation;
      batch.generation = record.generation;
      batch.rank = record.rank;
      batch.keys.push_back(record.key);
      bytes_[{record.generation, record.rank, record.key.sequence}] = std::move(record.message);
      if (batch.keys.size() >= kBatch) hand_on(batch);
      return {};
    });
    if (!done) return fail_shell(done.error());
    for (auto& [of, batch] : batches)
      if (!batch.keys.empty()) hand_on(batch);
    if (damaged > 0)
      publish("warning",
              std::to_string(damaged) + " damaged lines in " + file.string() + " were passed over");
    events_.push_back(SpoolRead{read.node, read.incarnation});
  }
  void act(const RenewLease& renew) {
    claim_.beat = renew.beat;
    if (claim_.endpoint.empty()) return;
    if (const auto written = write_claim(paths_, claim_); !written)
      return fail_shell(written.error());
    const auto highest = highest_term(paths_);
    if (!highest) return fail_shell(highest.error());
    could_act();
    events_.push_back(LeaseRenewed{*highest});
  }
  void act(const ExplainWaits& explain) {
    const auto found = tell_who_waited();
    events_.push_back(WaitsExplained{explain.generation, found ? found->culprit() : -1,
                                     found ? found->text : found.error().message});
  }
  void act(const RecordEnd& end) {
    describe();
    RunStore& store = book_->store();
    Expected<void> written = store.set_state(run_state(end.outcome), end.reason);
    if (written)
      written = store.append_event(to_string(run_state(end.outcome)), end.reason, json::object());
    if (written) written = write_end(paths_, setup_.term, {end.outcome, end.reason});
    if (!written) return fail_shell(written.error());
    must_save_ = true;
    json ended = {{"type", "ended"},
                  {"outcome", to_string(run_state(end.outcome))},
                  {"reason", end.reason},
                  {"culprit", end.outcome == Outcome::Failed ? state_.cause.rank : -1}};
    put_error(ended, {state_.cause.code, end.reason});
    status_.say(ended);
    events_.push_back(EndRecorded{});
  }
  void act(const StepDown& down) {
    claim_.abdicated = down.abdicated;
    if (down.abdicated) (void)write_claim(paths_, claim_);
    log_info("steps down: " + down.reason);
    status_.say({{"type", "notice"}, {"kind", "coordinator"}, {"message", down.reason}});
    code_ = down.abdicated ? kCoordinatorAbdicated : kCoordinatorSteppedDown;
  }
  void fail_shell(const Error& error) {
    cannot_act_ = true;
    events_.push_back(ShellFailed{error, false});
  }
  void could_act() {
    if (std::exchange(cannot_act_, false) && !failing_) events_.push_back(ShellRecovered{});
  }

  /// A run that failed and whose end cannot be written down either: nobody can be told but our
  /// agent, which ends the workers when we do.
  bool is_stuck() {
    if (state_.outcome != Outcome::Failed || !(failing_ || cannot_act_)) {
      stuck_since_.reset();
      return false;
    }
    if (!stuck_since_) stuck_since_ = clock_.now();
    return clock_.now() - *stuck_since_ > kStuck;
  }

  const CoordinatorSetup& setup_;
  const RunPaths paths_;
  const StatusPipe& status_;
  const Clock& clock_;
  CoordinatorOptions options_;
  CoordinatorState state_;
  Claim claim_;
  std::unique_ptr<ChannelServer> server_;
  std::unique_ptr<RecordBook> book_;
  std::unique_ptr<DriftWatch> drift_;  // null: no cluster is known, or it has been said
  std::unique_ptr<Journal> journal_;
  std::deque<Event> events_;
  std::deque<CoordinatorAction> waiting_;  // decided; done once the state is in the journal
  std::map<std::tuple<std::int64_t, int, std::int64_t>, std::string> bytes_;  // of records
  Instant next_tick_{}, next_hearing_{};
  const std::string build_ = build_fingerprint();
  long long dropped_ = 0, told_refused_ = 0;
  std::int64_t diagnosed_ = 0;  // the generation of which it was told who waited
  bool must_save_ = true;       // before anything else is done
  bool should_save_ = false;    // soon
  bool should_describe_ = false;
  Instant next_save_{};
  bool failing_ = false;     // the journal cannot be written
  bool cannot_act_ = false;  // something else of the run directory cannot
  std::optional<Instant> stuck_since_;
  std::string last_reason_;
  int code_ = -1;  // the exit code, once decided
};

Expected<std::string> read_all(int descriptor) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(descriptor, buffer, sizeof buffer)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 || text.size() > 65536)
      return fail(Code::InvalidArgument, "coordinators are started by 'weft run' and 'weft agent'");
    text.append(buffer, static_cast<std::size_t>(n));
  }
  ::close(descriptor);
  return text;
}

Expected<int> coordinate(const CoordinatorArguments& arguments, const StatusPipe& status,
                         const Clock& clock) {
  WEFT_TRY_ASSIGN(const std::string text, read_all(arguments.setup_descriptor));
  WEFT_TRY_ASSIGN(const CoordinatorSetup setup, parse_setup(text));
  return CoordinatorShell(setup, status, clock).run();
}

}  // namespace

int coordinator_main(const CoordinatorArguments& arguments, const Clock& clock) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != arguments.parent) return kCoordinatorRefused;  // the agent died before
  ::signal(SIGPIPE, SIG_IGN);
  // The agent's: a terminal sends them to its whole group, Slurm (--signal) to a whole step.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) ::signal(signal, SIG_IGN);
  const StatusPipe status(arguments.status_descriptor);
  const auto code = coordinate(arguments, status, clock);
  if (code) return *code;
  log_error(code.error().message);
  json failed = {{"type", "failed"}};
  put_error(failed, code.error());
  status.say(failed);
  return kCoordinatorRefused;
}

}  // namespace weft::runtime
