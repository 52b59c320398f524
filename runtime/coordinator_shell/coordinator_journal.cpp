// What the coordinator writes down before anything is done, and what it does when it cannot.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/coordinator/state_json.h"
#include "runtime/coordinator_shell/coordinator_loop.h"
#include "runtime/coordinator_shell/fence.h"
#include "runtime/log/log.h"

namespace weft::runtime {

namespace {

constexpr std::chrono::milliseconds kSaveAgain{200};
constexpr std::chrono::seconds kStuck{3};
constexpr std::chrono::seconds kWaits{1};
constexpr std::int64_t kKeptGenerations = 8;  // of whose records the numbers are remembered
constexpr int kWholeShare = 200;              // of the time goes into journals of the whole state

}  // namespace

/// False: the journal cannot be written, so nothing may be done.
bool CoordinatorLoop::save() {
  const Instant now = clock_.now();
  // What only explains (thousands of nodes that join) waits for the next moment; nothing follows
  // from it.
  const bool whole =
      must_save_ || (should_save_ && now >= next_save_) || (must_note_ && now >= next_whole_save_);
  if (whole || must_note_) {
    auto saved = write_journal(whole);
    if (saved && must_save_) saved = stop_for_successor();
    if (!saved) return storage_failed(saved.error());
    must_note_ = false;
    if (whole) must_save_ = should_save_ = false;
  }
  if (failing_) {
    failing_ = false;
    events_.push_back(ShellRecovered{});
  }
  return true;
}

/// With every record the files' lengths alone: the state is as long as the run is wide, and nothing
/// durable is in it that the last journal has not. It follows (best step, members) now and then.
Expected<void> CoordinatorLoop::write_journal(bool whole) {
  const Instant begun = clock_.now();
  JournalEntry entry;
  book_->forget_before(state_.generation - kKeptGenerations);
  WEFT_TRY(book_->note(entry));
  if (!whole) return journal_->save_positions(entry);
  entry.state = to_json(state_, begun).dump();
  WEFT_TRY(journal_->save(entry, std::exchange(last_reason_, "")));
  next_save_ = clock_.now() + kSaveAgain;
  next_whole_save_ = next_save_ + kWholeShare * (clock_.now() - begun);
  return {};
}

Expected<void> CoordinatorLoop::stop_for_successor() {
  WEFT_TRY_ASSIGN(const std::int64_t highest, highest_term(paths_));
  if (const auto later = look_for_successor(setup_.term, highest, waiting_)) think(*later);
  return {};
}

bool CoordinatorLoop::storage_failed(const Error& error) {
  log_error(error.message);
  if (failing_) return false;
  failing_ = true;
  Decision decision = decide(std::move(state_), ShellFailed{error, false}, clock_.now(), options_);
  state_ = std::move(decision.state);
  for (CoordinatorAction& action : decision.actions) waiting_.push_back(std::move(action));
  if (!decision.reason.empty()) log_error(decision.reason);
  return false;
}

/// A run whose outcome is decided and cannot be written down either: nobody can be told but our
/// agent, which ends the workers when we do. What did not fail has the time that a disk has.
bool CoordinatorLoop::is_stuck() {
  const bool failed = state_.outcome == Outcome::Failed;
  const bool decided = failed || state_.phase == RunPhase::Closing;
  if (!decided || !(failing_ || cannot_act_)) {
    stuck_since_.reset();
    return false;
  }
  if (!stuck_since_) stuck_since_ = clock_.now();
  const Duration bound = failed ? kStuck : std::max<Duration>(kStuck, options_.storage_bound);
  return clock_.now() - *stuck_since_ > bound;
}

Error CoordinatorLoop::why_stuck() const {
  if (state_.outcome == Outcome::Failed) return {state_.cause.code, state_.reason};
  return {Code::Io,
          "the run's end (" + state_.reason + ") could not be written down: " + state_.failing};
}

/// We answer nobody while the journal cannot be written; our agent is to know that we live.
void CoordinatorLoop::say_that_it_waits() {
  if (clock_.now() < next_waits_) return;
  next_waits_ = clock_.now() + kWaits;
  status_.say({{"type", "waits"}});
}

}  // namespace weft::runtime
