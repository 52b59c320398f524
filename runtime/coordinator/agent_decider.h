// One event's way through the agent's rules; not for others to include. agent.cpp: orders and
// workers; agent_spool: records; agent_lead: election, own coordinator, leaving.
#pragma once

#include <string>
#include <utility>

#include "runtime/coordinator/agent.h"

namespace weft::runtime {

class AgentDecider {
 public:
  AgentDecider(AgentState state, Instant now, const AgentOptions& options)
      : now_(now), options_(options) {
    d_.state = std::move(state);
  }

  void operator()(const Order& order);
  void operator()(const Beat& beat);
  void operator()(const Acknowledgement& acknowledgement);
  void operator()(const WorkerHello& hello);
  void operator()(const WorkerMoved& moved);
  void operator()(const WorkerDone& done);
  void operator()(const WorkerFailed& failed);
  void operator()(const WorkerExited& exited);
  void operator()(const WorkerSaved& saved);
  void operator()(const WorkerCopied& copied);
  void operator()(const RecordMade& made);
  void operator()(const FlushAsked& asked);
  void operator()(const SpoolWritten& written);
  void operator()(const SpoolFailed& failed);
  void operator()(const ClaimsRead& read);
  void operator()(const ClaimsUnreadable& failed);
  void operator()(const LeaderConnected&) { s().changed = true; }
  void operator()(const ClaimDecided& decided);
  void operator()(const CoordinatorExited& exited);
  void operator()(const AgentStopAsked&);
  void operator()(const AgentSaveAsked&);
  void operator()(const AgentTick&);

  /// After every event: a change is reported at once.
  void report_if_due();
  AgentDecision take() { return std::move(d_); }

 private:
  AgentState& s() { return d_.state; }
  void act(AgentAction action) { d_.actions.push_back(std::move(action)); }
  void say(const std::string& what) { d_.reason += (d_.reason.empty() ? "" : "; ") + what; }
  AgentState::Worker* find(std::int64_t generation, int rank);

  // Orders and workers
  void carry_out();
  void start_generation();
  void release();
  void assign(int rank);
  bool is_released() const;
  void end_workers(const std::string& reason, bool hard);
  int num_live() const;

  // Records
  void send_records();
  void send_all_again();
  std::int64_t unacknowledged() const;
  void forget_old_spools();

  // Leading and leaving
  bool hear(std::int64_t term);
  void new_leader();
  bool leading() const;
  void follow(const ElectionStep& step);
  void claim_next();
  void directory_works();
  void directory_fails(const std::string& error, bool writing);
  void give_up_without_leader();
  void leave_when_done();
  void leave(Outcome outcome, const std::string& reason);
  Report make_report(bool left);

  Instant now_;
  const AgentOptions& options_;
  AgentDecision d_;
};

}  // namespace weft::runtime
