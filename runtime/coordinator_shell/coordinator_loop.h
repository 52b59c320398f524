// The coordinator's loop; not for others to include. coordinator_loop.cpp: what comes in and
// deciding; coordinator_journal.cpp: the journal, and a disk that fails; coordinator_actions.cpp:
// what is done about it; run_teller: what people read of it.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "runtime/agent/claims.h"
#include "runtime/agent/coordinator_child.h"
#include "runtime/control/channel.h"
#include "runtime/control/messages.h"
#include "runtime/coordinator/coordinator.h"
#include "runtime/coordinator_shell/journal.h"
#include "runtime/coordinator_shell/lease_keeper.h"
#include "runtime/coordinator_shell/record_book.h"
#include "runtime/coordinator_shell/report_pace.h"
#include "runtime/coordinator_shell/run_teller.h"
#include "runtime/job/job.h"
#include "runtime/worker/peers.h"

namespace weft::runtime {

/// Threads: one. `setup`, `status` and `clock` outlive it.
class CoordinatorLoop {
 public:
  CoordinatorLoop(const CoordinatorSetup& setup, const StatusPipe& status, const Clock& clock)
      : setup_(setup), paths_{setup.run}, status_(status), clock_(clock) {}

  /// Until the run has ended or another one leads: the process's exit code.
  Expected<int> run();

 private:
  Expected<void> begin();
  void set_options(const Job& job);

  // What comes in
  void take(const ChannelMessage& incoming);
  void take_all(const std::vector<ChannelMessage>& messages);
  void refuse_build(const std::string& node, const std::string& version);
  void take_records(RecordsMessage message);
  void hear_people();
  void hear_lease();
  void tick();
  /// Connections without this run's keys, and messages that were none.
  long long num_refused() const { return server_->num_refused() + dropped_; }

  // Deciding
  void work();
  void think_all();
  /// `asked`: the request that the event is.
  void think(const Event& event, const std::string& asked = "");
  void publish(const std::string& kind, const std::string& reason, const std::string& asked = "");

  // The journal
  bool save();
  Expected<void> write_journal(bool whole);
  Expected<void> stop_for_successor();
  bool storage_failed(const Error& error);
  bool is_stuck();
  Error why_stuck() const;
  void say_that_it_waits();

  // Doing
  void act_all();
  void act(const SendOrder& send);
  void act(const SendBeat& send);
  void act(const SendAcknowledgement& send);
  void act(const ClaimGeneration& claim);
  void act(const ListCheckpoints&);
  void act(const StoreRecords& store);
  void act(const TruncateAfter& truncate);
  void act(const ReadSpool& read);
  void act(const RenewLease& renew);
  void act(const ExplainWaits& explain);
  void act(const RecordEnd& end);
  void act(const StepDown& down);
  void fail_shell(const Error& error);
  void could_act();

  const CoordinatorSetup& setup_;
  const RunPaths paths_;
  const StatusPipe& status_;
  const Clock& clock_;
  CoordinatorOptions options_;
  CoordinatorState state_;
  Claim claim_;
  std::unique_ptr<LeaseKeeper> lease_;  // from when the claim says where this one listens
  std::unique_ptr<ChannelServer> server_;
  std::unique_ptr<RecordBook> book_;
  std::unique_ptr<RunTeller> teller_;
  std::unique_ptr<Journal> journal_;
  std::deque<Event> events_;
  std::deque<CoordinatorAction> waiting_;  // decided; done once the state is in the journal
  std::map<std::tuple<std::int64_t, int, std::int64_t>, std::string> bytes_;  // of records
  Instant next_tick_{}, next_hearing_{};
  const std::string build_ = build_fingerprint();
  long long dropped_ = 0;
  ReportPace pace_;           // while the present generation runs
  bool must_save_ = true;     // the state, before anything else is done
  bool must_note_ = false;    // how far the files are written, likewise
  bool should_save_ = false;  // soon
  Instant next_save_{}, next_whole_save_{};
  bool failing_ = false;     // the journal cannot be written
  bool cannot_act_ = false;  // something else of the run directory cannot
  std::optional<Instant> stuck_since_;
  Instant next_waits_{};
  std::string last_reason_;
  int code_ = -1;  // the exit code, once decided
};

}  // namespace weft::runtime
