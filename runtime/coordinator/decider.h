// One event's way through the coordinator's rules; not for others to include. The rules stand by
// what they are about: decide_members (reports, lost nodes, orders), decide_generation (forming to
// ending), decide_records (what counts), decide_run (people, the shell, the end), decide_tick.
#pragma once

#include <string>
#include <utility>

#include "runtime/coordinator/coordinator.h"

namespace weft::runtime {

struct WholeCopies;  // whole_copies.h

class Decider {
 public:
  Decider(CoordinatorState state, Instant now, const CoordinatorOptions& options)
      : now_(now), options_(options) {
    d_.state = std::move(state);
  }

  void operator()(const TermBegan& began);
  void operator()(const Report& report);
  void operator()(const Records& records);
  void operator()(const RecordsStored& stored);
  void operator()(const SpoolRead& read);
  void operator()(const GenerationClaimed& claimed);
  void operator()(const CheckpointsListed& listed);
  void operator()(const LeaseRenewed& renewed);
  void operator()(const WaitsExplained& explained);
  void operator()(const StragglerFlagged& flagged);
  void operator()(const EndRecorded&);
  void operator()(const ShellFailed& failed);
  void operator()(const ShellRecovered&);
  void operator()(const StopAsked&);
  void operator()(const PauseAsked&);
  void operator()(const ContinueAsked&);
  void operator()(const SaveAsked& asked);
  void operator()(const BanAsked& asked);
  void operator()(const UnbanAsked& asked);
  void operator()(const Tick&);

  Decision take() { return std::move(d_); }

 private:
  CoordinatorState& s() { return d_.state; }
  void act(CoordinatorAction action) { d_.actions.push_back(std::move(action)); }
  /// Joined with what was said before about the same event.
  void say(const std::string& what) { d_.reason += (d_.reason.empty() ? "" : "; ") + what; }
  void durable() { d_.durable = true; }
  void step_down(bool abdicated, const std::string& reason);

  // Members
  Node* admit(const Report& report);
  void take_workers(Node& node, const Report& report);
  void lose(const std::string& name, Node& node, const std::string& why);
  void drop_ranks(const std::string& name, Node& node, const std::string& why);
  void want_spool(const std::string& node, std::uint64_t incarnation);
  Order desired(const Node& node) const;
  /// It has taken the newest order that this term gave it.
  bool took_order(const Node& node) const {
    return node.order.term == d_.state.term && node.taken >= node.order.number;
  }
  void refresh(const std::string& name, Node& node);
  void refresh_all();

  // Generation
  bool has_generation() const;
  void enter(RunPhase phase, Duration bound);
  std::string why_not(const std::string& name, const Node& node) const;
  std::vector<NodeRoom> rooms(const std::string& without) const;
  void try_form();
  bool place_all();
  void form();
  void run_generation();
  void take_status(const std::string& node, const WorkerStatus& status);
  void count_rank(const RankState& rank, int sign);
  void note(Cause cause);
  void end_generation();
  void all_done(bool stopped_early);
  void finish_ending();
  void blame(const Cause& cause);
  void learn_saved(const Report& report);
  bool ban_if_spared(const std::string& node, const std::string& reason,
                     std::optional<Instant> until);
  bool all_damaged(const std::vector<Checkpoint>& complete);
  void tell_broken(const WholeCopies& copies);

  // Run
  void stop_at_once();
  void fail_run(Cause cause);
  void close(Outcome outcome, const std::string& reason);
  bool closed_out();
  void finish_closing();
  void swap_after_save(const std::string& node);

  // Tick
  void wake_up();
  void watch_nodes();
  void watch_bans();
  void watch_storage();
  void watch_phase();
  void watch_progress();
  void name_missing();
  void name_stuck();
  void abdicate_if_alone();

  Instant now_;
  const CoordinatorOptions& options_;
  Decision d_;
};

/// "3 ranks", "1 rank".
std::string counted(std::size_t count, const std::string& what);

}  // namespace weft::runtime
