// What the coordinator's decisions make it do.
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/agent/spool.h"
#include "runtime/control/wire_error.h"
#include "runtime/coordinator_shell/begin_run.h"
#include "runtime/coordinator_shell/coordinator_loop.h"
#include "runtime/coordinator_shell/flagged_ranks.h"
#include "runtime/log/log.h"

namespace weft::runtime {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr std::chrono::seconds kLastClaim{2};
constexpr std::size_t kBatch = 512;  // records of a spool file handed on at once

RunState run_state(Outcome outcome) {
  return outcome == Outcome::Finished  ? RunState::Finished
         : outcome == Outcome::Stopped ? RunState::Stopped
                                       : RunState::Failed;
}

}  // namespace

void CoordinatorLoop::act_all() {
  std::deque<CoordinatorAction> actions = std::move(waiting_);
  waiting_.clear();
  for (const CoordinatorAction& action : actions)
    std::visit([this](const auto& what) { act(what); }, action);
}

void CoordinatorLoop::act(const SendOrder& send) { server_->send(send.node, encode(send.order)); }
void CoordinatorLoop::act(const SendBeat& send) { server_->send(send.node, encode(send.beat)); }
void CoordinatorLoop::act(const SendAcknowledgement& send) {
  server_->send(send.node, encode(send.acknowledgement));
}

void CoordinatorLoop::act(const ClaimGeneration& claim) {
  const auto won = take_generation(paths_, claim.number, setup_.term);
  if (!won) return fail_shell(won.error());
  could_act();
  events_.push_back(GenerationClaimed{claim.number, *won});
}

void CoordinatorLoop::act(const ListCheckpoints&) {
  auto listed = complete_checkpoints(paths_);
  if (!listed) return fail_shell(listed.error());
  events_.push_back(CheckpointsListed{std::move(*listed)});
}

void CoordinatorLoop::act(const StoreRecords& store) {
  for (const std::int64_t sequence : store.sequences) {
    const auto found = bytes_.find({store.generation, store.rank, sequence});
    if (found == bytes_.end()) return;  // asked for again
    const auto stored = book_->store_record(store.generation, store.rank, sequence, found->second);
    if (!stored) return fail_shell(stored.error());
    for (StragglerFlagged& flagged : flagged_in(store.generation, found->second))
      events_.push_back(std::move(flagged));
  }
  book_->set_next(store.generation, store.rank, store.next);
  must_note_ = true;
  events_.push_front(RecordsStored{store.node, store.generation, store.rank, store.next});
}

void CoordinatorLoop::act(const TruncateAfter& truncate) {
  if (const auto cut = book_->truncate_after(truncate.step); !cut) fail_shell(cut.error());
  must_note_ = true;
}

void CoordinatorLoop::act(const ReadSpool& read) {
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

void CoordinatorLoop::act(const RenewLease& renew) {
  claim_.beat = renew.beat;
  if (lease_) lease_->renew(claim_);
}

void CoordinatorLoop::act(const ExplainWaits& explain) {
  const auto found = teller_->tell_who_waited(explain.generation);
  events_.push_back(WaitsExplained{explain.generation, found ? found->culprit() : -1,
                                   found ? found->text : found.error().message});
}

void CoordinatorLoop::act(const RecordEnd& end) {
  teller_->describe(state_, num_refused(), pace_);
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

void CoordinatorLoop::act(const StepDown& down) {
  claim_.abdicated = down.abdicated;
  if (down.abdicated && lease_) (void)lease_->finish(claim_, kLastClaim);
  log_info("steps down: " + down.reason);
  status_.say({{"type", "notice"}, {"kind", "coordinator"}, {"message", down.reason}});
  code_ = down.abdicated ? kCoordinatorAbdicated : kCoordinatorSteppedDown;
}

void CoordinatorLoop::fail_shell(const Error& error) {
  cannot_act_ = true;
  events_.push_back(ShellFailed{error, false});
}

void CoordinatorLoop::could_act() {
  if (std::exchange(cannot_act_, false) && !failing_) events_.push_back(ShellRecovered{});
}

}  // namespace weft::runtime
