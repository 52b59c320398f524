#include "tests/runtime/fault_nodes.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "tests/runtime/nodes.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr int kLeader = 0, kFollower = 1, kSpare = 2;

double wall_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// A follower comes back while the others work, and is a spare from then on; then the run is asked
/// to stop. What went wrong, or "".
std::string come_back(Nodes& nodes, Network& network) {
  if (!nodes.told("generation 2 runs")) return "no second generation ran";
  network.mend(kFollower);
  if (!nodes.told("node n1 is back")) return "the node that was cut off did not come back";
  nodes.agent(kLeader).signal(SIGINT);
  return "";
}

/// A node that is slow from the start, all of its ranks: it is flagged, and left out for the spare
/// once everything is saved. Then the run is asked to stop. What went wrong, or "".
std::string leave_slow_node(Nodes& nodes) {
  if (!nodes.told("node n1 is banned: rank ")) return "the slow node was not banned";
  if (!nodes.told("node n1 is taken out: rank ")) return "the slow node was not taken out";
  if (!nodes.told("generation 2 runs")) return "no second generation ran";
  const long long steps = nodes.steps();
  if (!eventually([&] { return nodes.steps() > steps + 5 || !nodes.anybody_running(); }))
    return "the second generation made no steps";
  nodes.agent(kLeader).signal(SIGINT);
  return "";
}

/// All ranks of a node stand still where the phase is, so that it is hit there and nowhere else.
std::vector<std::string> held(const FaultRow& row) {
  return {fmt::format("WEFT_FAULT=do=stop at={} rank=all step={}", row.phase, step_for(row))};
}

bool stands_still(const fs::path& run) {
  std::error_code error;
  for (fs::directory_iterator log(run / "logs", error), end; !error && log != end;
       log.increment(error))
    if (text_of(log->path()).find("WEFT_FAULT: stop") != std::string::npos) return true;
  return false;
}

void measure(const fs::path& run, double when, FaultOutcome& outcome) {
  const double ended = time_of(run, "ends: ", when), lost = time_of(run, "is lost: ", when);
  const double noticed = ended < 0 ? lost : lost < 0 ? ended : std::min(ended, lost);
  const double again =
      std::max(time_of(run, "resumed from", when), time_of(run, "no checkpoint yet", when));
  if (noticed > 0) outcome.detected = noticed - when;
  if (again > 0) outcome.recovered = again - when;
}

FaultOutcome run_disturbed(const FaultRow& row, const Place& place) {
  const std::string fault = row.fault;
  const bool cuts = fault == "node cut off", slows = fault == "slow node";
  const int victim = fault == "leading agent kill" ? kLeader : kFollower;
  const std::string phase = row.phase;
  const int slots = phase == "rollout" ? 1 : 2;  // that job has two ranks
  const fs::path run = place / "run";
  // Who comes back must find the run still going on: it goes slowly, until it is asked to stop.
  const std::vector<std::string> forever = {"--set", "pretrain.steps=100000"};
  const std::vector<std::string> slowly = {"WEFT_FAULT=do=slow at=compute rank=0"};
  const std::vector<std::string> swapping = {"--set", "pretrain.steps=100000",
                                             "--set", "watch.swap_stragglers=true",
                                             "--set", "watch.straggler_window=5"};
  const std::vector<std::string> slow_node = {
      "WEFT_FAULT=do=slow at=compute rank=all generation=0"};
  const std::vector<std::string> none;
  std::optional<Network> network;
  if (cuts) network.emplace(3);

  FaultOutcome outcome;
  Nodes nodes(job_of(place, row), run, cuts ? forever : slows ? swapping : none);
  nodes.start(kLeader, slots, cuts, cuts ? slowly : victim == kLeader ? held(row) : none);
  // The one that is to lead does so before anybody else can.
  if (!eventually([&] { return nodes.leader() == kLeader || !nodes.anybody_running(); }, 60s))
    outcome.problem = "nobody leads";
  nodes.start(kFollower, slots, cuts,
              slows                          ? slow_node
              : victim == kFollower && !cuts ? held(row)
                                             : none);
  if (!nodes.told("generation 1 forms")) outcome.problem = "no generation was formed";
  double when = 0;
  const auto hurt = [&] {
    if (cuts)
      eventually([&] { return nodes.steps() >= step_for(row) || !nodes.anybody_running(); });
    else
      eventually([&] { return stands_still(run) || !nodes.anybody_running(); });
    when = wall_now();
    if (cuts)
      network->cut(victim);
    else
      nodes.agent(victim).kill_agent();
  };
  if (phase == "forming") hurt();  // it does not wait for the spare
  nodes.start(kSpare, slots, cuts);
  if (!nodes.told("node n2 joined")) outcome.problem = "the spare did not join";

  if (slows) {
    if (outcome.problem.empty()) outcome.problem = leave_slow_node(nodes);
    if (outcome.problem.empty()) outcome.problem = nodes.end_with(130);
    const double first = time_of(run, "generation 1 runs", 0);
    outcome.detected = time_of(run, "node n1 is banned: rank ", 0) - first;
    outcome.recovered = time_of(run, "generation 2 runs", 0) - first;
    return outcome;
  }
  if (phase != "forming") hurt();
  if (cuts && outcome.problem.empty()) outcome.problem = come_back(nodes, *network);
  if (outcome.problem.empty()) outcome.problem = nodes.end_with(cuts ? 130 : 0);
  measure(run, when, outcome);
  return outcome;
}

}  // namespace

const std::vector<FaultRow>& node_fault_rows() {
  static const std::vector<FaultRow> rows = [] {
    std::vector<FaultRow> all;
    for (const char* fault : {"agent kill", "leading agent kill"})
      for (const char* phase :
           {"forming", "compute", "exchange", "checkpoint", "rollout", "shutdown"})
        all.push_back({fault, phase, all.size() == 1});
    for (const char* phase : {"forming", "compute", "checkpoint"})
      all.push_back({"node cut off", phase});
    all.push_back({"slow node", "compute"});
    return all;
  }();
  return rows;
}

bool is_node_fault(const FaultRow& row) {
  return std::ranges::any_of(
      node_fault_rows(), [&](const FaultRow& one) { return std::string(one.fault) == row.fault; });
}

FaultOutcome try_node_fault(const FaultRow& row) {
  if (std::string(row.fault) == "node cut off" && !Network::why_not().empty())
    return {-1, -1, "skipped: " + Network::why_not()};
  const Place place;
  FaultOutcome outcome = run_disturbed(row, place);
  if (!outcome.problem.empty()) return outcome;
  const std::vector<json> metrics = metrics_of(place / "run");
  // One that was asked to stop did not come to the job's end.
  const std::string fault = row.fault;
  const bool whole = fault != "node cut off" && fault != "slow node";
  if (metrics.empty() ||
      metrics !=
          (whole ? undisturbed(row)
                 : metrics_on_one_node(place.supervised_job(), metrics.size(), metrics.size() + 1)))
    outcome.problem = "other numbers than those of one undisturbed node";
  return outcome;
}

}  // namespace weft::test
