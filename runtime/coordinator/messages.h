// What agents and the coordinator tell each other, as values. Both directions are level-triggered:
// a report says all that an agent's node is now, an order all that it is wanted to be, so that a
// message lost, doubled or overtaken by another does no harm.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/expected.h"

namespace weft::runtime {

/// How a run ended.
enum class Outcome { Undecided, Finished, Stopped, Failed };
const char* to_string(Outcome outcome);

// --- Agent -> coordinator ------------------------------------------------------------------------

struct CheckResult {
  std::string name;  // "disk", "memory", "loopback", ...
  bool passed = true;
  std::string message;  // measured against wanted
};

/// What an agent says about its node when it joins.
struct NodeFacts {
  int slots = 0;        // ranks it can run: its devices
  int roster = 0;       // its place in the launcher's list of nodes
  std::string version;  // build_fingerprint() of its binary
  std::string address;  // where its workers can be reached by other nodes
  std::string leaf;     // the switch or rack that it hangs on; "": not known
  std::int64_t memory_bytes = 0;
  std::vector<CheckResult> checks;
};

enum class WorkerPhase {
  Starting,  // the process is started
  Ready,     // it said hello and waits to be released
  Working,   // it was given its job
  Done,      // it came to the end of the recipe, or stopped early as asked
  Failed,    // it reported an error of its own, or died
};
const char* to_string(WorkerPhase phase);

/// What a working rank is at; outside of steps a lack of progress is judged by another bound.
enum class Activity { Loading, Stepping, Saving, Other };
const char* to_string(Activity activity);

struct WorkerFailure {
  Code code = Code::Internal;
  std::string message;
  int blames = -1;                 // the rank that it says it waited for or lost; -1: none
  int exit_code = 0;               // once it is gone
  int signal = 0;                  // once it is gone; 0: it exited by itself
  bool ordered = false;            // it was killed by its agent, on an order or because of one
  std::string damaged_checkpoint;  // the name of the checkpoint that it found damaged while loading
  friend bool operator==(const WorkerFailure&, const WorkerFailure&) = default;
};

struct WorkerStatus {
  int rank = 0;
  WorkerPhase phase = WorkerPhase::Starting;
  bool gone = false;           // the process has ended
  bool stopped_early = false;  // with Done
  Activity activity = Activity::Loading;
  std::int64_t step = -1;   // the last completed step; -1: none yet
  std::int64_t action = 0;  // actions done in the step after that
  Duration step_time{};     // of the last completed step; 0: not measured
  std::string address;      // once Ready: where other ranks find it; "" on one host
  std::optional<WorkerFailure> failure;
  friend bool operator==(const WorkerStatus&, const WorkerStatus&) = default;
};

/// A complete checkpoint in the run directory, or a copy of the state in a node's memory.
struct Checkpoint {
  std::int64_t step = 0;
  std::int64_t generation = 0;  // that wrote it
  std::string name;             // its directory; in_memory() of it for a copy in memory
  friend auto operator<=>(const Checkpoint&, const Checkpoint&) = default;
};

inline constexpr std::string_view kInMemory = "memory/";
/// What such a copy is called where checkpoints are named too: "memory/step-000000045".
inline std::string in_memory(const std::string& name) { return std::string(kInMemory) + name; }
inline bool is_in_memory(std::string_view name) { return name.starts_with(kInMemory); }

/// One node's share of a copy of the state in memory. The nodes of the generation that made it are
/// its parts 0 to parts - 1: each keeps the shards of its own ranks, and a replica of those of one
/// other node.
struct MemoryCopy {
  Checkpoint checkpoint;
  int parts = 1;
  int part = 0;      // this node's own
  int replica = -1;  // the part of which it has a replica; -1: of none
  friend bool operator==(const MemoryCopy&, const MemoryCopy&) = default;
};

/// Sent every heartbeat, and at once when something other than a position changed.
struct Report {
  std::string node;
  /// Of the agent's process. A higher one means that the workers of the one before died; the shell
  /// takes one above those of the node's spool files.
  std::uint64_t incarnation = 0;
  std::int64_t number = 0;         // counts up within an incarnation; older ones are dropped
  std::int64_t term = 0;           // of the leader that it is meant for
  std::int64_t order = 0;          // the newest order of that term that was taken
  std::optional<NodeFacts> facts;  // until an order of that term came
  std::int64_t generation = 0;     // whose workers `workers` are; 0: none yet
  std::vector<WorkerStatus> workers;
  std::int64_t unacknowledged = 0;  // records in its spool that the coordinator does not have
  std::string spool_error;          // why the spool cannot be written; "": it can
  /// The newest checkpoint that its workers committed, and the request that it answered (0: none).
  std::optional<Checkpoint> saved;
  std::int64_t saved_request = 0;
  std::vector<MemoryCopy> copies;  // what its memory has of the newest ones
  int stops_asked = 0;             // by the person at this agent's terminal
  int saves_asked = 0;             // by a signal to this agent
  bool left = false;               // its last report: workers gone, it exits
};

/// One record of a worker: what it is about. Its bytes stay with the shells, which find them by
/// (generation, rank, sequence).
struct RecordKey {
  std::int64_t sequence = 0;  // counts up from 0 within (generation, rank)
  std::int64_t step = -1;     // the step that it reports; -1: none in particular (always kept)
  friend bool operator==(const RecordKey&, const RecordKey&) = default;
};

/// Records of one rank in sequence, from its agent's spool.
struct Records {
  std::string node;
  std::uint64_t incarnation = 0;
  std::int64_t generation = 0;
  int rank = 0;
  std::vector<RecordKey> keys;
};

// --- Coordinator -> agent ------------------------------------------------------------------------

/// Where a rank runs.
struct RankSlot {
  int rank = 0;
  int slot = 0;  // of its node
  friend bool operator==(const RankSlot&, const RankSlot&) = default;
};

/// "Save after a step, all ranks the same one": the ranks agree through the step's world-wide sum,
/// as they do for a stop, so that no step waits for the coordinator.
struct SaveRequest {
  std::int64_t id = 0;       // 0: none
  std::int64_t at_step = 0;  // not before this step is complete
  friend bool operator==(const SaveRequest&, const SaveRequest&) = default;
};

enum class Wanted {
  Idle,     // no workers: waits are aborted, what runs is killed
  Prepare,  // the workers of `generation` are started and said hello
  Work,     // they are released
  Leave,    // as Idle, then the spool is handed over and the agent exits
};
const char* to_string(Wanted wanted);

/// What a node is wanted to be. A newer order (term, number) replaces an older one entirely.
struct Order {
  std::int64_t term = 0;
  std::int64_t number = 0;  // counts up within a term and node
  std::int64_t generation = 0;
  Wanted wanted = Wanted::Idle;
  std::vector<RankSlot> ranks;       // of this node; Prepare and Work
  std::optional<Checkpoint> resume;  // none: from initial weights
  /// By rank, world size; with Work when ranks have addresses. Shared between nodes' orders.
  std::shared_ptr<const std::vector<std::string>> addresses;
  bool stop = false;  // finish the step, save, be done
  SaveRequest save;
  bool hard = false;                     // Idle, Leave: without asking first
  Outcome outcome = Outcome::Undecided;  // of the run, with Leave
  std::string reason;                    // why; what waits are aborted with
};
bool same_but_number(const Order& a, const Order& b);

/// The answer to a report that needs no new order. `order`: the newest one of this node; an agent
/// that has not taken it says so in its next report.
struct Beat {
  std::int64_t term = 0;
  std::int64_t order = 0;
};

/// Every record of (generation, rank) below `next` is stored or not wanted.
struct Acknowledgement {
  std::int64_t term = 0;
  std::int64_t generation = 0;
  int rank = 0;
  std::int64_t next = 0;
};

}  // namespace weft::runtime
