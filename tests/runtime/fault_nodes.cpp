#include "tests/runtime/fault_nodes.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <memory>
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

/// Three nodes, the third a spare, and what becomes of a row on them. "n0" leads.
struct Trio {
  const FaultRow& row;
  const Place& place;
  std::vector<std::string> more;  // arguments of the run
  bool networked = false;
  fs::path run = place / "run";
  std::optional<Network> network = {};
  std::unique_ptr<Nodes> nodes = {};
  FaultOutcome outcome = {};

  bool is(const char* phase) const { return row.phase == std::string(phase); }
  void require(bool good, const char* what) {
    if (!good && outcome.problem.empty()) outcome.problem = what;
  }
  void start(const std::vector<std::string>& leader, const std::vector<std::string>& follower,
             bool spare = true) {
    const int slots = is("rollout") ? 1 : 2;  // that job has two ranks
    if (networked) network.emplace(3);
    nodes = std::make_unique<Nodes>(job_of(place, row), run, more);
    nodes->start(kLeader, slots, networked, leader);
    // The one that is to lead does so before anybody else can.
    require(
        eventually([&] { return nodes->leader() == kLeader || !nodes->anybody_running(); }, 60s),
        "nobody leads");
    nodes->start(kFollower, slots, networked, follower);
    require(nodes->told("generation 1 forms"), "no generation was formed");
    if (!spare) return;
    nodes->start(kSpare, slots, networked);
    require(nodes->told("node n2 joined"), "the spare did not join");
  }
  void end_with(int code) {
    if (outcome.problem.empty()) outcome.problem = nodes->end_with(code);
  }
  void measure(double when) {
    const double ended = time_of(run, "ends: ", when), lost = time_of(run, "is lost: ", when);
    const double noticed = ended < 0 ? lost : lost < 0 ? ended : std::min(ended, lost);
    const double again =
        std::max(time_of(run, "resumed from", when), time_of(run, "no checkpoint yet", when));
    if (noticed > 0) outcome.detected = noticed - when;
    if (again > 0) outcome.recovered = again - when;
  }
  /// The numbers of one undisturbed node: of the whole job, or as far as this came.
  FaultOutcome compared(bool whole) {
    if (!outcome.problem.empty()) return outcome;
    const std::vector<json> got = metrics_of(run);
    const auto wanted = [&] {
      return whole ? undisturbed(row)
                   : metrics_on_one_node(place.supervised_job(), got.size(), got.size() + 1);
    };
    require(!got.empty() && got == wanted(), "other numbers than those of one undisturbed node");
    return outcome;
  }
};

/// The agent dies while its workers are held in the phase; they die with it.
FaultOutcome kill_agent(const FaultRow& row, int victim) {
  const Place place;
  const Hold hold(row, "all", place);
  Trio trio{row, place, kNoHang};
  const std::vector<std::string> held = {hold.environment()}, free;
  trio.start(victim == kLeader ? held : free, victim == kLeader ? free : held);
  hold.await(trio.run, [&] { return trio.nodes->anybody_running(); });
  const double when = wall_now();
  trio.nodes->agent(victim).kill_agent();
  trio.end_with(0);
  trio.measure(when);
  return trio.compared(true);
}

/// A follower's link is cut while its workers are held in the phase, and mended once the others go
/// on without it. Where the run can go on for ever, slowly, the node is seen to be a spare from
/// then on, and the run is asked to stop; else the node comes back or sees the run's end.
FaultOutcome cut_node(const FaultRow& row) {
  if (!Network::why_not().empty()) return {.problem = "skipped: " + Network::why_not()};
  const Place place;
  const Hold hold(row, "all", place);
  Trio trio{row, place, kNoHang, true};
  const bool forever = !trio.is("rollout") && !trio.is("shutdown");
  std::vector<std::string> slowly;
  if (forever) {
    trio.more.insert(trio.more.end(), {"--set", "pretrain.steps=100000"});
    slowly = {"WEFT_FAULT=do=slow at=compute rank=0"};
  }
  trio.start(slowly, {hold.environment()});
  hold.await(trio.run, [&] { return trio.nodes->anybody_running(); });
  trio.network->cut(kFollower);
  const double when = wall_now();
  hold.let_go();
  trio.require(trio.nodes->told("generation 2 runs"), "no second generation ran");
  trio.network->mend(kFollower);
  if (forever) {
    trio.require(trio.nodes->told("node n1 is back"),
                 "the node that was cut off did not come back");
    trio.nodes->agent(kLeader).signal(SIGINT);
  }
  trio.end_with(forever ? 130 : 0);
  trio.measure(when);
  return trio.compared(!forever);
}

/// A node that is slow from the start, all of its ranks: it is flagged, and left out for the spare
/// once everything is saved. Then the run is asked to stop.
FaultOutcome leave_slow_node(const FaultRow& row) {
  const Place place;
  Trio trio{row,
            place,
            {"--set", "pretrain.steps=100000", "--set", "watch.swap_stragglers=true", "--set",
             "watch.straggler_window=5"}};
  trio.start({}, {"WEFT_FAULT=do=slow at=compute rank=all generation=0"});
  Nodes& nodes = *trio.nodes;
  trio.require(nodes.told("node n1 is banned: rank "), "the slow node was not banned");
  trio.require(nodes.told("node n1 is taken out: rank "), "the slow node was not taken out");
  trio.require(nodes.told("generation 2 runs"), "no second generation ran");
  const long long steps = nodes.steps();
  trio.require(eventually([&] { return nodes.steps() > steps + 5 || !nodes.anybody_running(); }),
               "the second generation made no steps");
  nodes.agent(kLeader).signal(SIGINT);
  trio.end_with(130);
  const double first = time_of(trio.run, "generation 1 runs", 0);
  trio.outcome.detected = time_of(trio.run, "node n1 is banned: rank ", 0) - first;
  trio.outcome.recovered = time_of(trio.run, "generation 2 runs", 0) - first;
  return trio.compared(false);
}

/// A node that is slow in this phase alone: the others wait for it. A long time where the phase is
/// met only a few times.
FaultOutcome bear_slow_node(const FaultRow& row) {
  const Place place;
  Trio trio{row, place, {}};
  const int ms = trio.is("forming") || trio.is("shutdown") ? 1500 : trio.is("checkpoint") ? 300 : 5;
  trio.start({},
             {fmt::format("WEFT_FAULT=do=slow at={} rank=all generation=0 ms={}", row.phase, ms)},
             false);
  trio.end_with(0);
  return trio.compared(true);
}

}  // namespace

const std::vector<FaultRow>& node_fault_rows() {
  static const std::vector<FaultRow> rows = [] {
    std::vector<FaultRow> all;
    for (const char* fault : {"agent kill", "leading agent kill", "node cut off", "slow node"})
      for (const char* phase : kPhases) all.push_back({fault, phase, all.size() == 1});
    return all;
  }();
  return rows;
}

bool is_node_fault(const FaultRow& row) {
  return std::ranges::any_of(
      node_fault_rows(), [&](const FaultRow& one) { return std::string(one.fault) == row.fault; });
}

FaultOutcome try_node_fault(const FaultRow& row) {
  const std::string fault = row.fault, phase = row.phase;
  if (fault == "node cut off") return cut_node(row);
  if (fault == "slow node") return phase == "compute" ? leave_slow_node(row) : bear_slow_node(row);
  return kill_agent(row, fault == "leading agent kill" ? kLeader : kFollower);
}

}  // namespace weft::test
