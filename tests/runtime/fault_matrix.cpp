#include "tests/runtime/fault_matrix.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

#include "tests/runtime/fault_nodes.h"
#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;
using namespace std::chrono_literals;

bool rolls_out(const FaultRow& row) { return std::string(row.phase) == "rollout"; }

}  // namespace

std::string job_of(const Place& place, const FaultRow& row) {
  return rolls_out(row) ? place.grpo_job() : place.supervised_job();
}

const std::vector<json>& undisturbed(const FaultRow& row) {
  static std::mutex mutex;
  static std::map<bool, std::vector<json>> known;
  const std::lock_guard lock(mutex);
  auto& metrics = known[rolls_out(row)];
  if (!metrics.empty()) return metrics;
  const Place place;
  weft({"run", job_of(place, row), "--dir", (place / "run").string(), "-q"});
  return metrics = metrics_of(place / "run");
}

int step_for(const FaultRow& row) {
  const std::string phase = row.phase;
  return phase == "forming"      ? 0
         : phase == "rollout"    ? 14
         : phase == "checkpoint" ? 20
         : phase == "shutdown"   ? 40
                                 : 13;
}

const std::vector<std::string> kNoHang = {"--set", "control.hang_min=2m"};

Hold::Hold(const FaultRow& row, const std::string& rank, const Place& place)
    : until_(place / "go-on"),
      environment_(fmt::format("WEFT_FAULT=do=hold at={} rank={} step={} until={}", row.phase, rank,
                               step_for(row), until_.string())) {}

void Hold::await(const fs::path& run, const std::function<bool()>& running) const {
  eventually([&] { return has_met_fault(run) || !running(); });
}

void Hold::let_go() const { std::ofstream(until_) << "\n"; }

bool has_met_fault(const fs::path& run) {
  std::error_code error;
  for (fs::directory_iterator log(run / "logs", error), end; !error && log != end;
       log.increment(error))
    if (text_of(log->path()).find("WEFT_FAULT: ") != std::string::npos) return true;
  return false;
}

double seconds_of(const std::string& time) {
  std::tm tm{};
  const char* rest = ::strptime(time.c_str(), "%Y-%m-%dT%H:%M:%S", &tm);
  const double fraction = rest != nullptr && *rest == '.' ? std::strtod(rest, nullptr) : 0;
  return static_cast<double>(::timegm(&tm)) + fraction;
}

double time_of(const fs::path& run, const std::string& words, double since) {
  for (const json& event : lines_of(run / "events.jsonl"))
    if (event.value("message", "").find(words) != std::string::npos &&
        seconds_of(event.value("time", "")) >= since - 0.002)
      return seconds_of(event.value("time", ""));
  return -1;
}

std::string problem_of(const FaultRow& row, Weft& child, const fs::path& run) {
  const Ended ended = child.wait(120s);
  if (!ended.in_time || ended.code != 0)
    return fmt::format(
        "it ended with {} after {:.0f} s: {}", ended.code, ended.seconds,
        ended.err.substr(ended.err.size() - std::min<std::size_t>(ended.err.size(), 600)));
  if (!eventually([&] { return child.everybody().empty(); }, 30s))
    return "somebody was left behind";
  const std::vector<json> got = metrics_of(run), &wanted = undisturbed(row);
  const auto [one, other] = std::ranges::mismatch(got, wanted);
  if (one == got.end() && other == wanted.end()) return "";
  return fmt::format("other numbers than those of the undisturbed run: {} steps of {}; first {}",
                     got.size(), wanted.size(),
                     one == got.end() ? std::string("none") : one->dump());
}

namespace {

double wall_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Does to a process from outside what a worker cannot do to itself. Returns when it was done.
double hurt(Weft& child, const std::string& whom, const Hold& hold, const fs::path& run) {
  hold.await(run, [&] { return child.running(); });
  const pid_t pid = child.coordinator();
  if (pid > 0) ::kill(pid, whom.ends_with("stop") ? SIGSTOP : SIGKILL);
  const double when = wall_now();
  hold.let_go();
  return when;
}

/// When the worker's own log says that it met its fault, or -1.
double time_of_fault(const fs::path& run) {
  for (int rank = 0; rank < 4; ++rank) {
    const std::string log = text_of(run / "logs" / fmt::format("worker-{}.log", rank));
    const std::size_t at = log.find(" warning WEFT_FAULT");
    if (at == std::string::npos) continue;
    const std::size_t begin = log.rfind('\n', at) + 1;  // npos + 1 = 0
    return seconds_of(log.substr(begin, at - begin));
  }
  return -1;
}

}  // namespace

const std::vector<FaultRow>& fault_rows() {
  static const std::vector<FaultRow> rows = [] {
    std::vector<FaultRow> all;
    for (const char* phase : kPhases)
      for (const char* fault : {"kill", "stop", "throw", "exit", "memory", "slow"})
        all.push_back(
            {fault, phase, phase == std::string("exchange") && fault == std::string("kill")});
    for (const char* phase : {"forming", "compute", "exchange", "checkpoint", "rollout"})
      all.push_back({"flip", phase});
    for (const char* fault : {"coordinator kill", "coordinator stop"})
      for (const char* phase : kPhases)
        all.push_back(
            {fault, phase,
             phase == std::string("compute") && fault == std::string("coordinator kill")});
    all.insert(all.end(), node_fault_rows().begin(), node_fault_rows().end());
    std::ranges::copy(system_fault_rows(), std::back_inserter(all));
    return all;
  }();
  return rows;
}

FaultOutcome try_fault(const FaultRow& row) {
  if (is_node_fault(row)) return try_node_fault(row);
  if (is_system_fault(row)) return try_system_fault(row);
  const std::string fault = row.fault;
  const bool of_worker = !fault.starts_with("coordinator");
  const Place place;
  const fs::path run = place / "run";
  // A worker that only rank 0's part can tell of: its own log's clock is the wall's.
  const int rank = rolls_out(row) ? 1 : 2;
  const Hold hold(row, std::to_string(rank), place);
  std::vector<std::string> arguments = {"run", job_of(place, row), "--dir", run.string()};
  if (!of_worker) arguments.insert(arguments.end(), kNoHang.begin(), kNoHang.end());
  FaultOutcome outcome;
  Weft child(arguments, {},
             {"TZ=UTC", of_worker ? fmt::format("WEFT_FAULT=do={} at={} rank={} step={}", fault,
                                                row.phase, rank, step_for(row))
                                  : hold.environment()});
  double when = of_worker ? 0 : hurt(child, fault, hold, run);
  outcome.problem = problem_of(row, child, run);
  if (of_worker) when = time_of_fault(run);
  if (when < 0 || fault == "slow") return outcome;
  const double noticed = time_of(run, of_worker ? "ends: " : "takes over", when);
  const double again = of_worker ? std::max(time_of(run, "resumed from", when),
                                            time_of(run, "no checkpoint yet", when))
                                 : noticed;
  if (noticed > 0) outcome.detected = noticed - when;
  if (again > 0) outcome.recovered = again - when;
  return outcome;
}

std::string print_table(const std::vector<std::pair<FaultRow, FaultOutcome>>& table) {
  const auto time = [](double seconds) {
    return seconds < 0 ? std::string("-") : fmt::format("{:.1f} s", seconds);
  };
  std::string text =
      "| fault | phase | detected | working again | result | row took |\n"
      "|---|---|---|---|---|---|\n";
  for (const auto& [row, outcome] : table)
    text +=
        fmt::format("| {} | {} | {} | {} | {} | {} |\n", row.fault, row.phase,
                    time(outcome.detected), time(outcome.recovered),
                    outcome.problem.empty() ? "same numbers" : outcome.problem, time(outcome.took));
  return text;
}

}  // namespace weft::test
