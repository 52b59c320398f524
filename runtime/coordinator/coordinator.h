// The coordinator's decisions, pure: decide(state, event, now) -> {state, actions, reason}. No
// clock, socket, process or file, and nothing that differs between two runs of the same events; the
// shell does what the actions say and shows the same reason.
//
// Rules for a shell:
// - decision.durable: the state is journaled (state_json.h) before any of the actions is done.
// While
//   the journal cannot be written the actions wait, in order; tell ShellFailed.
// - The result of an action comes back as an event; an action whose result does not come is asked
//   for again, so doing one twice must be harmless.
// - Tick about every 200 ms.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/expected.h"
#include "runtime/coordinator/messages.h"
#include "runtime/coordinator/place_ranks.h"
#include "scheduler/placement.h"

namespace weft::runtime {

// --- What happened -------------------------------------------------------------------------------

/// First event of every coordinator: it holds `term`; the state is the journal's last or fresh.
/// `stored`: the next sequence that the record store wants, by (generation, rank).
struct TermBegan {
  std::int64_t term = 0;
  std::string node;  // whose agent it is a child of
  std::map<std::pair<std::int64_t, int>, std::int64_t> stored;
  std::string
      silent_leader;  // the node whose lease ran out; "": its leader gave up, or is this one
};
// Report (messages.h): an agent spoke.
// Records (messages.h): records of a rank came, over the network or out of a spool file.
/// They are in the store: all of (generation, rank) below `next`.
struct RecordsStored {
  std::string node;
  std::int64_t generation = 0;
  int rank = 0;
  std::int64_t next = 0;
};
/// A lost agent's spool file was read to its end (every Records of it went before).
struct SpoolRead {
  std::string node;
  std::uint64_t incarnation = 0;
};
/// generations/<number> was created exclusively by us, now or before (won), or by another term.
struct GenerationClaimed {
  std::int64_t number = 0;
  bool won = true;
};
/// Every complete checkpoint of the run directory, in any order.
struct CheckpointsListed {
  std::vector<Checkpoint> complete;
};
/// The lease was renewed; the highest term that the directory shows.
struct LeaseRenewed {
  std::int64_t highest_term = 0;
  Duration age{};  // since the renewal was begun: it may have taken long, or be heard of late
};
/// Who waited for whom (derived from the schedule and every rank's position).
struct WaitsExplained {
  std::int64_t generation = 0;
  int culprit = -1;
  std::string text;
};
/// A rank is slower than its peers, or computes other numbers than they do (`corrupt`).
struct StragglerFlagged {
  std::int64_t generation = 0;
  int rank = 0;
  std::string reason;
  bool corrupt = false;
};
/// The run's end is in the shared directory.
struct EndRecorded {};
/// Something on the coordinator's own side failed: the journal, the store, the run directory.
struct ShellFailed {
  Error error;
  bool final = false;  // no use in trying again
};
/// What had failed works again.
struct ShellRecovered {};
/// A person asked. Twice: stop at once.
struct StopAsked {};
struct PauseAsked {};
struct ContinueAsked {};
struct SaveAsked {
  std::int64_t at_step = 0;  // 0: after the next step
};
struct BanAsked {
  std::string node;
  std::string reason;
  Duration length{};  // 0: until it is lifted
};
struct UnbanAsked {
  std::string node;
};
struct Tick {};

using Event = std::variant<TermBegan, Report, Records, RecordsStored, SpoolRead, GenerationClaimed,
                           CheckpointsListed, LeaseRenewed, WaitsExplained, StragglerFlagged,
                           EndRecorded, ShellFailed, ShellRecovered, StopAsked, PauseAsked,
                           ContinueAsked, SaveAsked, BanAsked, UnbanAsked, Tick>;

// --- What to do about it -------------------------------------------------------------------------

struct SendOrder {
  std::string node;
  Order order;
};
struct SendBeat {
  std::string node;
  Beat beat;
};
struct SendAcknowledgement {
  std::string node;
  Acknowledgement acknowledgement;
};
/// Create generations/<number> exclusively -> GenerationClaimed.
struct ClaimGeneration {
  std::int64_t number = 0;
};
/// -> CheckpointsListed.
struct ListCheckpoints {};
/// Append these records of the Records event being decided -> RecordsStored. Those that the store
/// has (generation, rank, sequence) are skipped.
struct StoreRecords {
  std::string node;
  std::uint64_t incarnation = 0;
  std::int64_t generation = 0;
  int rank = 0;
  std::vector<std::int64_t> sequences;
  std::int64_t next = 0;  // to be told in RecordsStored: what is left out is not wanted
};
/// Steps after this one are done anew: metrics and samples of them are dropped.
struct TruncateAfter {
  std::int64_t step = 0;
};
/// Read the spool file of an agent that is gone, from the run directory -> Records..., SpoolRead.
struct ReadSpool {
  std::string node;
  std::uint64_t incarnation = 0;
};
/// Write the lease's counter, read the highest term -> LeaseRenewed.
struct RenewLease {
  std::int64_t term = 0;
  std::int64_t beat = 0;
};
/// -> WaitsExplained, within `bound` or never.
struct ExplainWaits {
  std::int64_t generation = 0;
};
/// Write the run's end into the shared directory, under our term: readers count it only while no
/// later term is claimed, so that a deposed leader ends nothing -> EndRecorded.
struct RecordEnd {
  Outcome outcome = Outcome::Undecided;
  std::string reason;
};
/// This coordinator ends; another term leads or will.
struct StepDown {
  bool abdicated = false;  // mark the claim so, others may lead
  std::string reason;
};

using CoordinatorAction = std::variant<SendOrder, SendBeat, SendAcknowledgement, ClaimGeneration,
                                       ListCheckpoints, StoreRecords, TruncateAfter, ReadSpool,
                                       RenewLease, ExplainWaits, RecordEnd, StepDown>;

// --- What is known -------------------------------------------------------------------------------

/// Why a generation ended. A higher kind explains a lower one: the death of a worker explains what
/// its peers say about it. Within a kind the first one counts.
struct Cause {
  enum class Kind {
    None,
    Planned,       // a swap, a ban, a pause
    PeerBlamed,    // a rank failed because of another one
    Hang,          // nobody progressed
    FormingLate,   // a rank did not come in time
    NodeLost,      // an agent was silent, or came back as another process
    WorkerFailed,  // a rank reported an error of its own
    WorkerDied,    // a process ended
  };
  Kind kind = Kind::None;
  int rank = -1;
  std::string node;
  Code code = Code::Internal;
  std::string text;
  friend bool operator==(const Cause&, const Cause&) = default;
};
const char* to_string(Cause::Kind kind);

struct Node {
  NodeFacts facts;
  std::uint64_t incarnation = 0;
  bool lost = false;
  bool left = false;   // it said good-bye
  bool heard = false;  // in this term
  Instant last_heard{};
  std::int64_t report = 0;      // number of the newest
  std::int64_t generation = 0;  // whose workers it has, as reported
  int live_workers = 0;         // of those, not gone
  std::int64_t unacknowledged = 0;
  std::vector<MemoryCopy> copies;  // what it has in memory
  std::optional<Instant> spool_failing_since;
  std::string spool_error;      // why, while it fails
  Order order;                  // what it was last told
  Instant told{};               // when that was sent
  int saves_asked = 0;          // of its agent's that were heard
  std::int64_t taken = 0;       // newest order of this term that it took
  std::vector<int> ranks;       // of the current generation
  std::vector<Instant> blamed;  // when a generation ended because of it, ascending
  std::string why_unfit;        // failed checks; "": fit
};

struct Ban {
  std::string reason;            // never empty
  std::optional<Instant> until;  // none: until it is lifted
};

struct RankState {
  WorkerPhase phase = WorkerPhase::Starting;
  bool gone = false;
  Activity activity = Activity::Loading;
  std::int64_t step = -1;
  std::int64_t action = 0;
};

/// A generation that was formed, and the step that it resumed after (0: initial weights).
struct LineEntry {
  std::int64_t generation = 0;
  std::int64_t resumed_step = 0;
  friend bool operator==(const LineEntry&, const LineEntry&) = default;
};

enum class RunPhase {
  Waiting,   // for enough healthy nodes
  Claiming,  // of the generation's number, and for the list of checkpoints
  Forming,   // workers start and say hello
  Running,
  Ending,   // of the generation: workers are being killed
  Paused,   // as asked; no workers
  Closing,  // of the run: the outcome is decided, agents hand over their records and leave
  Ended,
};
const char* to_string(RunPhase phase);

struct CoordinatorState {
  // Of the run
  int world = 0;
  std::int64_t term = 0;
  RunPhase phase = RunPhase::Waiting;
  Instant deadline{};  // of the phase; not used while Running or Paused
  Instant phase_since{};
  Outcome outcome = Outcome::Undecided;
  std::string reason;  // why the outcome is what it is
  Cause cause;         // of the present or last generation's end
  std::vector<LineEntry> line;
  std::set<std::string> damaged;    // damage_key() of checkpoints that a worker could not load
  std::map<std::string, Ban> bans;  // by node
  int stops_asked = 0;
  bool pause_asked = false;
  SaveRequest save;             // the newest request
  std::int64_t saves_done = 0;  // id of the newest that a checkpoint answered
  std::string swap_node;        // to be left out after the requested save; "": none
  int fruitless = 0;            // generations in a row that failed without progress
  std::int64_t best_step = 0;   // highest completed step of any generation
  std::int64_t saved_step = 0;  // of the newest checkpoint known
  int abdications = 0;          // in a row without a generation
  bool end_recorded = false;

  // Of the generation
  std::int64_t generation = 0;
  std::vector<RankPlacement> placement;  // by rank; also of the last generation
  bool claimed = false;
  std::optional<Checkpoint> resume;
  std::int64_t first_best_step = 0;  // best_step and saved_step when it began
  std::int64_t first_saved_step = 0;

  // Members. Nodes are journaled without what the next report says anyway.
  std::map<std::string, Node> nodes;
  /// Spool files of agents that are gone, to be read; when it is tried next.
  std::map<std::pair<std::string, std::uint64_t>, Instant> spools;

  // Not journaled: the next reports and reads say it again.
  Instant term_since{};
  bool deposed = false;       // it stepped down: nothing is decided any more
  std::string node;           // whose agent this coordinator is a child of
  std::string silent_leader;  // the node of the term before, whose lease ran out
  std::vector<RankState> ranks;
  std::vector<std::string> addresses;
  std::shared_ptr<const std::vector<std::string>> shared_addresses;  // once all are there
  int num_ready = 0, num_done = 0, num_gone = 0, num_not_stepping = 0;
  std::vector<StragglerFlagged> without_spare;  // to be swapped once a node joins
  std::int64_t step = 0;                        // highest completed of this generation
  Duration step_time{};                         // smoothed
  Instant last_progress{};
  std::optional<Instant> explaining;  // until when an explanation of the hang is waited for
  std::map<std::pair<std::int64_t, int>, std::int64_t> stored;  // next sequence wanted
  std::optional<Instant> failing_since;                         // of the shell
  std::string failing;
  std::int64_t lease_beat = 0;
  Instant next_lease{};
  Instant lease_renewed{};
  Instant last_tick{};
  Instant next_ask{};  // when a claim, list or record of the end is asked for again
};

struct CoordinatorOptions {
  Duration heartbeat = std::chrono::seconds(1);
  int heartbeats_missed = 3;  // then an agent is lost
  /// For members after a change of leader; the former leader's node has as long as for any silence.
  Duration rejoin_bound = std::chrono::seconds(8);
  Duration nodes_bound = std::chrono::minutes(10);  // Waiting
  Duration forming_bound = std::chrono::seconds(60);
  Duration ending_bound = std::chrono::seconds(10);  // Ending, for agents that still report
  Duration closing_bound = std::chrono::seconds(15);
  Duration retry = std::chrono::seconds(1);  // of actions without a result
  Duration lease_renew = std::chrono::seconds(1);
  Duration lease_lost_bound = std::chrono::seconds(10);  // where others could lead instead
  Duration storage_bound = std::chrono::seconds(60);   // run directory failing, then the run fails
  Duration abdicate_bound = std::chrono::seconds(15);  // Waiting with lost members; doubles
  Duration abdicate_bound_max = std::chrono::minutes(10);
  Duration tick_gap = std::chrono::seconds(1);  // beyond that we were asleep ourselves
  double hang_factor = 10;                      // times the measured step time
  Duration hang_bound_min = std::chrono::seconds(10);
  Duration slow_bound = std::chrono::minutes(5);  // outside of steps, and before the first
  Duration explain_bound = std::chrono::seconds(1);
  int fruitless_max = 5;  // generations in a row without progress
  int ban_blames = 3;     // generations ended because of a node, within the window
  Duration ban_window = std::chrono::hours(1);
  Duration ban_length = std::chrono::hours(1);
  bool swap_stragglers = false;
  /// Of the run's ranks: where nodes say which leaf they hang on, ranks are placed by it.
  std::optional<scheduler::Layout> layout;
};

struct Decision {
  CoordinatorState state;
  std::vector<CoordinatorAction> actions;
  std::string reason;    // empty: nothing that a person would want to know
  bool durable = false;  // journal the state before acting
};

/// A run that nobody has worked on yet. world: ranks.
CoordinatorState start_state(int world, Instant now, const CoordinatorOptions& options);

/// Pass the state by move: nothing of it is copied then. Cost: a report O(its workers), a tick
/// O(nodes), the begin and end of a generation O(world).
Decision decide(CoordinatorState state, const Event& event, Instant now,
                const CoordinatorOptions& options);

/// Does a record of this step and generation count, given the generations that ran? Steps that a
/// later generation did anew do not. step -1: it does while its generation is known.
bool counts(const std::vector<LineEntry>& line, std::int64_t generation, std::int64_t step);

/// What a checkpoint is known by once it was found damaged: a later generation writes the same step
/// anew under the same name.
std::string damage_key(const Checkpoint& checkpoint);

/// The newest checkpoint that lies on the line and is not damaged; of the same step the one in
/// memory.
std::optional<Checkpoint> newest_on_line(const std::vector<LineEntry>& line,
                                         const std::vector<Checkpoint>& complete,
                                         const std::set<std::string>& damaged);

/// "exit code 3" or "signal 9 (Killed)".
std::string describe_exit(int exit_code, int signal);

}  // namespace weft::runtime
