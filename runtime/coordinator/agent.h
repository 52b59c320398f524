// An agent's decisions, pure: agent_decide(state, event, now) -> {state, actions, reason}. It
// supervises the workers of its node, keeps their records until the coordinator has them, obeys the
// highest term it has seen, and takes part in the election. No clock, socket, process or file.
//
// Rules for a shell: the result of an action comes back as an event; Tick about every 100 ms; the
// bytes of records and of messages to workers stay with the shell. When the agent's process dies
// its workers and its coordinator die with it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/expected.h"
#include "runtime/coordinator/election.h"
#include "runtime/coordinator/messages.h"

namespace weft::runtime {

// --- What happened -------------------------------------------------------------------------------

// From the leader: Order, Beat, Acknowledgement (messages.h).

/// A worker of `generation` said hello: it waits for its job, and says so again while it does.
struct WorkerHello {
  std::int64_t generation = 0;
  int rank = 0;
  std::string address;
};
/// Where a worker is, read from its flight recorder's ring or told by it.
struct WorkerMoved {
  std::int64_t generation = 0;
  int rank = 0;
  Activity activity = Activity::Stepping;
  std::int64_t step = -1;   // the last completed one
  std::int64_t action = 0;  // done in the step after that
  Duration step_time{};     // of the last completed step
};
struct WorkerDone {
  std::int64_t generation = 0;
  int rank = 0;
  bool stopped_early = false;
};
/// It reported an error of its own before leaving.
struct WorkerFailed {
  std::int64_t generation = 0;
  int rank = 0;
  Error error;
  int blames = -1;                 // the rank that it lost or waited for
  std::string damaged_checkpoint;  // what it could not load
};
/// The process is gone, or could not be started (`error`). signal 0: it exited with `exit_code`.
struct WorkerExited {
  std::int64_t generation = 0;
  int rank = 0;
  int exit_code = 0;
  int signal = 0;
  std::string error;
};
/// A worker committed a checkpoint; `request`: the SaveRequest that it answers, 0: none.
struct WorkerSaved {
  std::int64_t generation = 0;
  int rank = 0;
  Checkpoint checkpoint;
  std::int64_t request = 0;
};
/// A worker has a whole copy of the state in this node's memory, where it outlives the worker.
/// Every record of the steps up to there came before.
struct WorkerCopied {
  std::int64_t generation = 0;
  int rank = 0;
  MemoryCopy copy;
};
/// A worker made a record. Sequences count up from 0 within (generation, rank).
struct RecordMade {
  std::int64_t generation = 0;
  int rank = 0;
  RecordKey key;
};
/// A worker waits until what it said so far is safe.
struct FlushAsked {
  std::int64_t generation = 0;
  int rank = 0;
  std::int64_t id = 0;
};
/// Every record of (generation, rank) below `next` is in the spool file, synced.
struct SpoolWritten {
  std::int64_t generation = 0;
  int rank = 0;
  std::int64_t next = 0;
};
/// The spool could not be written; it is tried again.
struct SpoolFailed {
  Error error;
};
/// The shared directory was read, or not.
struct ClaimsRead {
  Claims claims;
};
/// Or our claim could not be written there.
struct ClaimsUnreadable {
  Error error;
};
struct ClaimDecided {
  std::int64_t term = 0;
  bool won = false;
};
/// Our coordinator process ended.
struct CoordinatorExited {
  enum class How {
    Crashed,
    SteppedDown,  // another term leads
    Abdicated,    // it reached too few nodes
    Refused,      // it must not or cannot read the journal: no use in starting it again here
    Ended,        // the run is over
  };
  std::int64_t term = 0;
  How how = How::Crashed;
  Outcome outcome = Outcome::Undecided;  // with Ended
  std::string reason;
  bool storage = false;  // with Refused: it could not use the run directory
};
/// The way to the leader is open: what was reported before may have gone nowhere.
struct LeaderConnected {};
/// The person at this agent's terminal, or the launcher, asked to stop.
struct AgentStopAsked {};
/// Somebody (a batch system's signal) asked this agent for a checkpoint.
struct AgentSaveAsked {};
struct AgentTick {};

using AgentEvent =
    std::variant<Order, Beat, Acknowledgement, WorkerHello, WorkerMoved, WorkerDone, WorkerFailed,
                 WorkerExited, WorkerSaved, WorkerCopied, RecordMade, FlushAsked, SpoolWritten,
                 SpoolFailed, ClaimsRead, ClaimsUnreadable, ClaimDecided, CoordinatorExited,
                 LeaderConnected, AgentStopAsked, AgentSaveAsked, AgentTick>;

// --- What to do about it -------------------------------------------------------------------------

/// Before the first worker of a generation: memory and keys for these ranks of this node. What was
/// made for an older generation is dropped.
struct MakeWorld {
  std::int64_t generation = 0;
  std::vector<RankSlot> ranks;
};
struct SpawnWorker {
  std::int64_t generation = 0;
  RankSlot where;
};
/// Give the worker its job.
struct AssignWorker {
  std::int64_t generation = 0;
  int rank = 0;
  std::optional<Checkpoint> resume;
  std::shared_ptr<const std::vector<std::string>> addresses;
};
struct TellStop {
  int rank = 0;
};
struct TellSave {
  int rank = 0;
  SaveRequest save;
};
/// It is done and may exit.
struct TellShutdown {
  int rank = 0;
};
/// End every wait of the generation's workers at once with this reason.
struct AbortWaits {
  std::int64_t generation = 0;
  std::string reason;
};
struct KillWorker {
  std::int64_t generation = 0;
  int rank = 0;
  bool hard = false;  // SIGKILL, else SIGTERM
};
/// Append to the spool file and sync -> SpoolWritten, SpoolFailed.
struct AppendSpool {
  std::int64_t generation = 0;
  int rank = 0;
  RecordKey key;
};
struct AnswerFlush {
  int rank = 0;
  std::int64_t id = 0;
};
struct SendReport {
  Report report;
};
struct SendRecords {
  Records records;
};
/// Read the shared directory -> ClaimsRead, ClaimsUnreadable.
struct ReadClaims {};
/// Create terms/<term> exclusively in our name -> ClaimDecided.
struct ClaimTerm {
  std::int64_t term = 0;
};
/// Start a coordinator process that holds `term`; a former one of ours has ended.
struct StartCoordinator {
  std::int64_t term = 0;
};
struct KillCoordinator {};
/// Connect to this leader; reports go there from now on.
struct Connect {
  Claim leader;
};
/// Exit. Workers and coordinator are gone.
struct LeaveRun {
  Outcome outcome = Outcome::Undecided;
  std::string reason;
  Code code = Code::Unavailable;  // of a failure
};

using AgentAction =
    std::variant<MakeWorld, SpawnWorker, AssignWorker, TellStop, TellSave, TellShutdown, AbortWaits,
                 KillWorker, AppendSpool, AnswerFlush, SendReport, SendRecords, ReadClaims,
                 ClaimTerm, StartCoordinator, KillCoordinator, Connect, LeaveRun>;

// --- What is known -------------------------------------------------------------------------------

struct AgentState {
  struct Worker {
    WorkerStatus status;
    int slot = 0;
    bool killed = false;  // by us
    bool told_stop = false;
    std::int64_t told_save = 0;
    Instant told{};  // when it was last told of a stop or a save
  };
  struct Spool {                    // of one (generation, rank)
    std::deque<RecordKey> waiting;  // made, not acknowledged, in sequence
    std::int64_t made = 0;          // next sequence
    std::int64_t written = 0;       // below: in the file
    std::int64_t acknowledged = 0;  // below: the coordinator has them
    std::int64_t sent = 0;          // below: sent to the present leader
    std::vector<std::pair<std::int64_t, std::int64_t>> flushes;  // (id, sequence to be written)
  };

  std::string node;
  std::uint64_t incarnation = 0;
  NodeFacts facts;
  ElectionState election;
  Order order;                    // the newest taken; term 0: none yet
  std::int64_t introduced = 0;    // an order of this term came: it knows our facts
  std::int64_t generation = 0;    // of `workers`
  std::map<int, Worker> workers;  // by rank
  bool ending = false;            // they are being ended
  Instant kill_hard_at{};         // while ending
  std::string ending_reason;
  std::map<std::pair<std::int64_t, int>, Spool> spools;
  std::string spool_error;
  std::optional<Checkpoint> saved;  // by our workers, the newest
  std::int64_t saved_request = 0;
  std::vector<MemoryCopy> copies;  // in this node's memory, the newest two, oldest first
  std::int64_t report = 0;         // number of the last
  Instant next_report{};
  Instant next_records{};             // when what was sent and not acknowledged is sent again
  bool changed = false;               // something to report at once
  std::int64_t coordinator_term = 0;  // our child holds it; 0: we have none
  Instant coordinator_since{};
  bool coordinator_dying = false;                  // it was killed by us
  Instant coordinator_ended{};                     // the last one of ours
  std::optional<Instant> directory_failing_since;  // the shared one, with no leader heard since
  std::string directory_error;
  bool directory_unwritable = false;  // so that a good read does not mean that it works again
  int stops_asked = 0;
  int saves_asked = 0;
  std::optional<RunEnd> end;  // of the run, once seen
  Code end_code = Code::Unavailable;
  std::optional<Instant> leaving_since;
  bool left = false;  // LeaveRun was said: nothing is done any more
};

struct AgentOptions {
  ElectionOptions election;
  Duration heartbeat = std::chrono::seconds(1);
  Duration killing_bound = std::chrono::seconds(1);  // between SIGTERM and SIGKILL
  Duration resend = std::chrono::seconds(2);         // of records without an acknowledgement
  int records_batch = 256;
  Duration leaving_bound = std::chrono::seconds(15);  // for handing over the last records
  Duration orphan_bound = std::chrono::minutes(10);   // without a leader and without workers
  Duration storage_bound = std::chrono::seconds(60);  // and the shared directory fails
  bool alone = false;  // one node: nobody else can lead, so a refused coordinator ends the run
};

struct AgentDecision {
  AgentState state;
  std::vector<AgentAction> actions;
  std::string reason;  // empty: nothing that a person would want to know
};

/// When the agent at this place of the roster reports next: within a heartbeat, each place at a
/// beat of its own. What is reported at once in between does not move it; or an order that reaches
/// all nodes would make them all report in the same instant from then on.
Instant next_beat(Instant now, Duration heartbeat, int roster);

AgentState start_agent(std::string node, std::uint64_t incarnation, NodeFacts facts, Instant now);

/// Pass the state by move. Cost: O(workers of the node).
AgentDecision agent_decide(AgentState state, const AgentEvent& event, Instant now,
                           const AgentOptions& options);

}  // namespace weft::runtime
