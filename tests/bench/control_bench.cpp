// What the control plane costs at scale: one coordinator, the real process with its run directory,
// journal and encrypted sockets over loopback, and simulated agents in a process of their own, each
// a node of 8 ranks that reports once a second; the first one hands over a record of each step.
// Prints how long a generation takes to form, from the coordinator's start and again after a
// failure, what the coordinator costs while the run runs, and how long it handles a report; beside
// the limits of 10 % of a core, 5 ms, 2 s and 20 s.
//
//   control_bench [ranks [seconds]]        default: 2048 for 10 s, then 16384 for 10 s
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "base/check.h"
#include "base/files.h"
#include "runtime/agent/claims.h"
#include "runtime/agent/coordinator_child.h"
#include "runtime/agent/process.h"
#include "runtime/coordinator_shell/begin_run.h"
#include "runtime/coordinator_shell/coordinator_shell.h"
#include "runtime/store/requests.h"
#include "runtime/store/run_store.h"
#include "tests/bench/control_agents.h"

namespace weft::runtime {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
namespace fs = std::filesystem;

/// Of the job the coordinator takes its bounds; how many ranks there are is in its journal.
constexpr const char* kJob =
    "name: control-bench\ndevice: virtual\nparallel: {schedule: dualpipe, pipeline: 8, "
    "micro_batches: 16}\n";

/// A run directory from which a coordinator can go on, as a submission leaves it.
Expected<void> prepare(const RunPaths& paths, int ranks, const Clock& clock) {
  WEFT_TRY_ASSIGN(const auto store, RunStore::open(paths.root, clock));
  WEFT_TRY(write_file_atomically(paths.resolved(), kJob));
  WEFT_TRY(begin_run(paths, ranks, clock));
  Claim claim;  // as the first agent claims it for its coordinator
  claim.term = kTerm;
  claim.node = "node-0";
  claim.incarnation = 1;
  WEFT_TRY_ASSIGN(const bool ours, take_term(paths, claim));
  WEFT_CHECK(ours, "the term is taken");
  return {};
}

pid_t start_coordinator(const RunPaths& paths, const RunKeys& keys) {
  const CoordinatorSetup setup{paths.root, kTerm, "node-0", 1, "127.0.0.1", 0, false, keys};
  const auto told = anonymous_file(to_text(setup));
  WEFT_CHECK(told.has_value(), "memfd");
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0) {
    ::close(*told);
    return pid;
  }
  const fs::path log = paths.logs() / "coordinator.log";
  const int file = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  for (const int standard : {1, 2}) ::dup2(file, standard);
  ::_exit(coordinator_main({*told, ::open("/dev/null", O_WRONLY), parent}, SystemClock()));
}

/// User and system time of all its threads.
double cpu_seconds(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0, system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double percentile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

void row(const std::string& what, double value, const char* unit, double limit = 0) {
  std::printf("  %-52s %9.3f %-4s", what.c_str(), value, unit);
  if (limit > 0) std::printf("  limit %g %s%s", limit, unit, value <= limit ? "" : "  EXCEEDED");
  std::printf("\n");
}

bool until(Instant deadline, const auto& reached) {
  while (!reached()) {
    if (now() > deadline) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

/// The figures that the coordinator keeps of itself come into run.json when something happens.
json ask_for_its_figures(const RunPaths& paths, const Clock& clock) {
  const auto read = [&] {
    const auto text = read_file(paths.run());
    return text ? json::parse(*text, nullptr, false).value("report_handling", json()) : json();
  };
  const json before = read();
  (void)put_request(paths, {RunRequest::Kind::Save, 0, "", "", 0}, clock);
  json figures;
  until(now() + std::chrono::seconds(10), [&] { return (figures = read()) != before; });
  return figures;
}

struct Bench {
  int ranks, nodes;
  RunPaths paths;
  Shared& shared;
  pid_t coordinator, agents;

  bool formed_since(Instant begun, std::int64_t after, const std::string& what) const {
    const double cpu = cpu_seconds(coordinator);
    const bool good = until(begun + std::chrono::seconds(120),
                            [&] { return shared.generation > after && shared.released == nodes; });
    row(what, seconds_between(begun, now()), "s", ranks > 4096 ? 20 : 2);
    row("  of it the coordinator's CPU", cpu_seconds(coordinator) - cpu, "s");
    return good;
  }

  bool steady(int seconds, const Clock& clock) const {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    const std::int64_t generation = shared.generation;
    shared.collecting = true;
    const Instant begun = now();
    const double cpu = cpu_seconds(coordinator);
    std::this_thread::sleep_for(std::chrono::seconds(seconds));
    const double used = cpu_seconds(coordinator) - cpu, wall = seconds_between(begun, now());
    shared.collecting = false;
    const json figures = ask_for_its_figures(paths, clock);
    row("CPU of the coordinator's process, all threads", 100 * used / wall, "%",
        ranks > 4096 ? 0 : 10);
    if (!figures.is_object()) return false;
    row("handling of a report, median", figures["median_ms"], "ms", 5);
    row("handling of a report, 99th percentile", figures["p99_ms"], "ms", 5);
    row("handling of a report, the worst", figures["worst_ms"], "ms");
    const int answers = std::min<int>(shared.answers, std::size(shared.answer_seconds));
    std::vector<double> there_and_back(shared.answer_seconds, shared.answer_seconds + answers);
    row("report to answer as the agents see it, median", 1e3 * percentile(there_and_back, 0.5),
        "ms");
    row("report to answer as the agents see it, 99th perc.", 1e3 * percentile(there_and_back, 0.99),
        "ms");
    std::printf("  %lld reports handled, %d answers timed in %.1f s\n",
                figures["reports"].get<long long>(), answers, wall);
    return shared.generation == generation;
  }
};

int bench(int ranks, int seconds) {
  ranks = std::max(1, ranks / 16) * 16;  // whole nodes and whole pipelines
  const SystemClock clock;
  const RunKeys keys = make_run_keys();
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  WEFT_CHECK(memory != MAP_FAILED, "mmap");
  const RunPaths paths{fs::temp_directory_path() /
                       ("weft-control-bench-" + std::to_string(::getpid()))};
  const auto prepared = prepare(paths, ranks, clock);
  WEFT_CHECK(prepared.has_value(), prepared.error().message);
  Bench bench{ranks, ranks / kRanksPerNode, paths, *new (memory) Shared, -1, -1};
  std::printf("%d ranks behind %d agents, one report a second\n", ranks, bench.nodes);
  std::fflush(stdout);

  const Instant begun = now();
  bench.coordinator = start_coordinator(paths, keys);
  std::string endpoint;
  until(begun + std::chrono::seconds(30), [&] {
    const auto claims = read_claims(paths);
    if (claims && claims->highest) endpoint = claims->highest->endpoint;
    return !endpoint.empty();
  });
  WEFT_CHECK(!endpoint.empty(), "the coordinator does not listen; see its log");
  bench.agents = ::fork();
  if (bench.agents == 0) run_agents(endpoint, keys, bench.nodes, bench.shared);
  bool good = bench.formed_since(begun, 0, "first generation, from the coordinator's start");
  if (good) {
    const std::int64_t first = bench.shared.generation;
    const Instant failed = now();
    ::kill(bench.agents, SIGUSR1);
    good = bench.formed_since(failed, first, "next generation, from a worker's death");
  }
  good = good && bench.steady(seconds, clock);
  if (!good) std::printf("  STOPPED: see %s\n", (paths.logs() / "coordinator.log").c_str());
  for (const pid_t child : {bench.coordinator, bench.agents})
    if (child > 0) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  if (good) fs::remove_all(paths.root);
  ::munmap(memory, sizeof(Shared));
  return good ? 0 : 1;
}

}  // namespace
}  // namespace weft::runtime

int main(int argc, char** argv) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  const int seconds = argc > 2 ? std::atoi(argv[2]) : 10;
  if (argc > 1) return weft::runtime::bench(std::max(1, std::atoi(argv[1])), seconds);
  return weft::runtime::bench(2048, seconds) + weft::runtime::bench(16384, seconds);
}
