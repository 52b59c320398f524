// What goes wrong in a rehearsal, and when: drawn from failure rates, or read from a script. A
// list of values; nothing happens here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "runtime/job/diagnostics.h"
#include "scheduler/cluster/cluster.h"

namespace weft::runtime {

enum class FaultKind {
  NodeDeath,          // the host is gone for `seconds` (repair)
  WorkerCrash,        // one worker process dies; its host is fine
  Hang,               // one worker stops stepping and says nothing
  Straggler,          // one device computes `factor` times as long for `seconds`
  LinkFlap,           // one device's network port is gone for `seconds`; messages are repeated
  CorruptCheckpoint,  // the next checkpoint is damaged after it was written
  Imbalance           // the busiest experts of every layer get `factor` times their share
};
constexpr int kNumFaultKinds = 7;
std::string_view to_string(FaultKind kind);  // "node_death", ...

struct Fault {
  double at = 0;  // seconds from the start
  FaultKind kind = FaultKind::NodeDeath;
  int node = 0;
  int device = 0;
  double seconds = 0;
  double factor = 1;
  friend bool operator==(const Fault&, const Fault&) = default;
};

/// How often, per day of the whole cluster, and how bad. From the cluster's node_mtbf: failures
/// that stop a job, split among deaths, crashes and hangs. What does not stop a job has no figure
/// in a cluster file; those numbers are assumptions.
struct FaultRates {
  double node_deaths = 0, crashes = 0, hangs = 0;
  double stragglers = 0, link_flaps = 0, corrupt_checkpoints = 0, imbalances = 0;
  double of(FaultKind kind) const;
};
/// Shares of what stops a job: Llama 3 paper, table 5 (faulty GPUs and their memory, hosts and
/// networks: the host is exchanged, 78 %; software: 13 %; unclear or hanging, 9 %). Per node and
/// day: a straggler every 100 days, a link flap every 10 (assumed); a damaged checkpoint and two
/// imbalances a day of the whole run (assumed).
FaultRates rates_of(const scheduler::Cluster& cluster);

struct FaultGrid {
  int nodes = 1;  // of the cluster, spares included
  int devices = 1;
  double horizon = 0;  // seconds
};

/// One with the seconds and the factor that are drawn on average.
Fault typical_fault(FaultKind kind);

/// Ascending in time; a function of the seed.
std::vector<Fault> draw_faults(const FaultRates& rates, const FaultGrid& grid, std::uint64_t seed);

struct FaultScript {
  std::vector<Fault> faults;  // ascending in time; usable only when ok()
  std::vector<Diagnostic> diagnostics;
  bool ok() const { return !has_errors(diagnostics); }
};
/// A list of faults:
///   - {at: 2h, kind: node_death, node: 17}
///   - {at: 5h 30m, kind: straggler, node: 3, device: 2, factor: 1.3, for: 40m}
/// `at` and `kind` are needed; node and device default to 0, factor and for to what is drawn on
/// average. Everything that is wrong is in the diagnostics.
FaultScript parse_fault_script(std::string_view text, const std::string& file,
                               const FaultGrid& grid);

}  // namespace weft::runtime
