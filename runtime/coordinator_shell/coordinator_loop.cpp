#include "runtime/coordinator_shell/coordinator_loop.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/coordinator_shell/asked.h"
#include "runtime/coordinator_shell/begin_run.h"
#include "runtime/job/load.h"
#include "runtime/log/log.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr std::chrono::milliseconds kTick{200}, kPoll{100};
constexpr std::chrono::seconds kHearing{1};  // what people ask may wait so long

Duration in_duration(double seconds) { return Duration(static_cast<std::int64_t>(seconds * 1e9)); }

}  // namespace

Expected<int> CoordinatorLoop::run() {
  WEFT_TRY(begin());
  while (code_ < 0) {
    WEFT_TRY_ASSIGN(const auto messages, server_->poll(waiting_.empty() ? kPoll : kPoll / 2, {}));
    take_all(messages);
    hear_lease();
    if (clock_.now() >= next_tick_) tick();
    work();
    if (state_.phase == RunPhase::Ended && waiting_.empty()) code_ = kCoordinatorEnded;
    if (is_stuck()) return tl::unexpected(why_stuck());
  }
  return code_;
}

Expected<void> CoordinatorLoop::begin() {
  const Loaded loaded = load_job(paths_.resolved(), {.overrides = {}, .check_files = false});
  if (!loaded.ok()) return fail(Code::Corrupt, paths_.resolved().string() + " cannot be read back");
  set_options(loaded.job);
  WEFT_TRY_ASSIGN(server_, ChannelServer::open(setup_.host, setup_.port, setup_.keys));
  WEFT_TRY_ASSIGN(LastKnown known, last_known(paths_, setup_.term - 1, clock_.now()));
  WEFT_TRY_ASSIGN(auto store, RunStore::join(paths_.root, clock_));
  teller_ = std::make_unique<RunTeller>(*store, status_, setup_.term, clock_,
                                        DriftWatch::of(loaded.job, paths_.traces()));
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
  WEFT_TRY_ASSIGN(const std::string silent, silent_leader(paths_, setup_.term, setup_.node));
  events_.push_back(TermBegan{setup_.term, setup_.node, book_->stored(), silent});
  work();
  WEFT_TRY(write_claim(paths_, claim_));
  lease_ = std::make_unique<LeaseKeeper>(
      [paths = paths_](const Claim& claim) -> Expected<std::int64_t> {
        WEFT_TRY(write_claim(paths, claim));
        return highest_term(paths);
      },
      clock_);
  status_.say({{"type", "listening"}, {"endpoint", claim_.endpoint}});
  log_info("leads in term " + std::to_string(setup_.term) + " at " + claim_.endpoint);
  return {};
}

void CoordinatorLoop::set_options(const Job& job) {
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

// --- What comes in -------------------------------------------------------------------------------

/// Each is answered before the next is looked at, as long as nothing has to be journaled; then all
/// that came with it are decided first and journaled together.
void CoordinatorLoop::take_all(const std::vector<ChannelMessage>& messages) {
  const bool ran = state_.phase == RunPhase::Running;
  std::vector<Instant> unanswered;
  const auto answered = [&] {
    for (const Instant since : unanswered) pace_.add(clock_.now() - since);
    unanswered.clear();
  };
  for (const ChannelMessage& message : messages) {
    unanswered.push_back(clock_.now());
    take(message);
    think_all();
    if (must_save_ || must_note_) continue;
    act_all();
    answered();
  }
  work();
  answered();
  if (!ran) pace_.clear();
}

void CoordinatorLoop::tick() {
  next_tick_ = clock_.now() + kTick;
  events_.push_back(Tick{});
  hear_people();
  if (teller_->should_describe(num_refused())) teller_->describe(state_, num_refused(), pace_);
  teller_->tell_drift(book_->last_step());
}

void CoordinatorLoop::take(const ChannelMessage& incoming) {
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
void CoordinatorLoop::refuse_build(const std::string& node, const std::string& version) {
  ++dropped_;
  const std::string why = "node " + node + " runs another build, " + version +
                          ", than this run's coordinator, " + build_ +
                          "; run the same weft on every node";
  log_warning(why);
  server_->send(node, encode(RefusalMessage{why}));
}

/// The bytes wait here until the decision says which of them are wanted.
void CoordinatorLoop::take_records(RecordsMessage message) {
  const Records& records = message.records;
  for (std::size_t i = 0; i < records.keys.size(); ++i)
    if (!message.payload[i].empty())
      bytes_[{records.generation, records.rank, records.keys[i].sequence}] =
          std::move(message.payload[i]);
  events_.push_back(std::move(message.records));
}

void CoordinatorLoop::hear_people() {
  if (clock_.now() < next_hearing_) return;
  next_hearing_ = clock_.now() + kHearing;
  const auto taken = take_requests(paths_);
  if (!taken) return log_warning(taken.error().message);
  for (const std::string& refused : taken->refused)
    publish("warning", "a request was refused: " + refused);
  think_all();  // what came before
  for (const RunRequest& request : taken->requests)
    for (const Event& event : events_of(request)) think(event, request.name);
}

void CoordinatorLoop::hear_lease() {
  const auto renewal = lease_->take();
  if (!renewal) return;
  if (!renewal->highest_term) return fail_shell(renewal->highest_term.error());
  could_act();
  events_.push_back(LeaseRenewed{*renewal->highest_term, clock_.now() - renewal->begun});
}

// --- Deciding ------------------------------------------------------------------------------------

/// Decides what has come, journals, then acts; as long as there is something.
void CoordinatorLoop::work() {
  while (!events_.empty() || !waiting_.empty()) {
    think_all();
    if (!save()) {
      // Whoever is deposed needs no journal: of what it decided since nobody was told.
      if (state_.deposed) code_ = kCoordinatorSteppedDown;
      return say_that_it_waits();
    }
    act_all();
  }
  bytes_.clear();
}

void CoordinatorLoop::think_all() {
  while (!events_.empty()) {
    const Event event = std::move(events_.front());
    events_.pop_front();
    think(event);
  }
}

void CoordinatorLoop::think(const Event& event, const std::string& asked) {
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
    if (failure && !teller_->told_who_waited(state_.generation))
      (void)teller_->tell_who_waited(state_.generation);
    publish(failure ? "worker_failed" : "coordinator", decision.reason, asked);
  }
}

void CoordinatorLoop::publish(const std::string& kind, const std::string& reason,
                              const std::string& asked) {
  teller_->publish(state_.generation, kind, reason, asked);
  last_reason_ = reason;
  should_save_ = true;
}

}  // namespace weft::runtime
