#include "tests/sim/scenario.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "base/rng.h"
#include "tests/sim/checker.h"

namespace weft::runtime::sim {

using std::chrono::milliseconds;

namespace {

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : rng_(seed, "scenario") {}
  int between(int low, int high) {
    return low + static_cast<int>(rng_.below(static_cast<std::uint32_t>(high - low + 1)));
  }
  bool chance(double probability) { return rng_.uniform() < probability; }
  double upto(double high) { return rng_.uniform() * high; }
  Duration time(int low_ms, int high_ms) { return milliseconds(between(low_ms, high_ms)); }

 private:
  Rng rng_;
};

void draw_cluster(Dice& dice, WorldOptions& options) {
  const int kind = dice.between(1, 100);
  if (kind <= 20) {
    options.nodes = 1;
    options.slots = dice.between(1, 6);
  } else if (kind <= 85) {
    options.nodes = dice.between(2, 6);
    options.slots = dice.between(1, 3);
  } else if (kind <= 97) {
    options.nodes = dice.between(7, 24);
    options.slots = dice.between(1, 4);
  } else {
    options.nodes = dice.between(60, 200);
    options.slots = dice.between(1, 8);
  }
  const int spares = options.nodes == 1 ? 0 : dice.between(0, std::max(1, options.nodes / 3));
  options.world = std::max(
      1, (options.nodes - spares) * options.slots - (dice.chance(0.2) ? options.slots / 2 : 0));
}

void draw_network(Dice& dice, WorldOptions& options, ModelledWorkersOptions& workers) {
  if (dice.chance(0.4)) return;  // a good one
  options.net.loss = dice.upto(0.1);
  options.net.duplicate = dice.upto(0.1);
  options.net.slow = dice.upto(0.1);
  options.directory_delay_max = dice.time(1, 300);
  workers.fence_race = dice.upto(1);
  workers.peer_notices = dice.upto(1);
}

Fault draw_fault(Dice& dice, const WorldOptions& options, Duration window) {
  Fault fault;
  const int kinds = static_cast<int>(Fault::Kind::LoseNode) + 1;
  fault.kind = static_cast<Fault::Kind>(dice.between(0, kinds - 1));
  const int window_ms = static_cast<int>(window / milliseconds(1));
  fault.at = dice.time(0, window_ms);
  const bool of_rank = fault.kind == Fault::Kind::KillWorker ||
                       fault.kind == Fault::Kind::StopWorker ||
                       fault.kind == Fault::Kind::FailWorker;
  fault.target = dice.between(0, (of_rank ? options.world : options.nodes) - 1);
  fault.length = dice.chance(0.5) ? dice.time(100, 5000) : dice.time(1000, 30000);
  if (fault.kind == Fault::Kind::FailWorker)
    fault.code = dice.chance(0.1) ? Code::InvalidArgument : Code::Internal;
  return fault;
}

void draw_requests(Dice& dice, Scenario& scenario) {
  const auto ask = [&](double probability, const Event& request) {
    if (dice.chance(probability)) scenario.requests.push_back({dice.time(0, 40000), request});
  };
  ask(0.15, SaveAsked{});
  ask(0.05, SaveAsked{30});
  ask(0.03, StopAsked{});
  ask(0.02, StopAsked{});
  const std::string node = "n0000" + std::to_string(dice.between(0, 5));
  ask(0.05, BanAsked{node, "looks odd", std::chrono::seconds(20)});
  ask(0.03, UnbanAsked{node});
  ask(0.05, StragglerFlagged{1, 0, "half as fast as its peers"});
  if (dice.chance(0.1)) {
    scenario.requests.push_back({dice.time(0, 30000), PauseAsked{}});
    // Told to a leader that dies before it wrote it down, a person asks again.
    for (const int again : {0, 20000, 40000})
      scenario.requests.push_back({dice.time(31000, 50000) + milliseconds(again), ContinueAsked{}});
  }
}

std::string stamp(Duration at) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(3) << std::setw(9) << seconds(at);
  return text.str();
}

}  // namespace

Scenario draw_scenario(std::uint64_t seed) {
  Dice dice(seed);
  Scenario scenario;
  scenario.options.seed = seed;
  draw_cluster(dice, scenario.options);
  draw_network(dice, scenario.options, scenario.workers);
  scenario.model.num_steps = dice.between(10, 60);
  scenario.model.save_every = dice.between(2, 15);
  scenario.model.step = dice.time(50, 1200);
  scenario.model.starting = dice.time(50, 800);
  scenario.model.loading = dice.time(50, 1500);
  scenario.model.saving = dice.time(10, 1500);
  scenario.options.coordinator.swap_stragglers = dice.chance(0.5);
  // Shorter than in earnest where the bound only makes a test wait.
  scenario.options.coordinator.slow_bound = std::chrono::seconds(40);
  scenario.options.coordinator.nodes_bound = std::chrono::seconds(120);
  if (dice.chance(0.1)) scenario.options.agent_restart = {};
  const int faults = dice.chance(0.1) ? 0 : dice.between(1, dice.chance(0.3) ? 20 : 6);
  const Duration window =
      std::min<Duration>(scenario.heal_at, scenario.model.num_steps * scenario.model.step * 3 / 2 +
                                               std::chrono::seconds(5));
  for (int i = 0; i < faults; ++i)
    scenario.faults.push_back(draw_fault(dice, scenario.options, window));
  draw_requests(dice, scenario);
  if (dice.chance(0.5)) scenario.model.copy_every = dice.between(1, 6);
  scenario.model.copying = dice.time(10, 2000);
  return scenario;
}

Scenario quiet_scenario(int nodes, int slots, int world) {
  Scenario scenario;
  scenario.options.nodes = nodes;
  scenario.options.slots = slots;
  scenario.options.world = world;
  scenario.model.num_steps = 40;
  return scenario;
}

std::string describe(const Scenario& scenario) {
  const WorldOptions& o = scenario.options;
  std::ostringstream text;
  text << o.nodes << " nodes of " << o.slots << ", world " << o.world << ", "
       << scenario.model.num_steps << " steps of " << seconds(scenario.model.step)
       << " s, saves every " << scenario.model.save_every << ", copies every "
       << scenario.model.copy_every << ", loss " << o.net.loss << ", duplicates " << o.net.duplicate
       << "\n";
  for (const Fault& fault : scenario.faults) text << "  " << describe(fault) << "\n";
  for (const auto& [at, request] : scenario.requests)
    text << "  " << seconds(at) << " s request " << request.index() << "\n";
  return text.str();
}

Verdict run_scenario(const Scenario& scenario, const std::function<void(const std::string&)>& log) {
  Observer observer;
  if (log) {
    observer.decided = [&](Duration at, const CoordinatorState& state, const Event& event,
                           const std::string& reason) {
      if (const auto* records = std::get_if<Records>(&event))
        log(stamp(at) + " term " + std::to_string(state.term) + "   records of generation " +
            std::to_string(records->generation) + " rank " + std::to_string(records->rank) + ": " +
            std::to_string(records->keys.front().sequence) + " to " +
            std::to_string(records->keys.back().sequence));
      if (!reason.empty())
        log(stamp(at) + " term " + std::to_string(state.term) + " (" + to_string(state.phase) +
            "): " + reason);
    };
    observer.agent_decided = [&](Duration at, const AgentState& state, const AgentEvent&,
                                 const std::string& reason) {
      if (!reason.empty()) log(stamp(at) + " " + state.node + ": " + reason);
    };
    observer.stepped = [&](Duration at, std::int64_t generation, std::int64_t step) {
      log(stamp(at) + "   generation " + std::to_string(generation) + " step " +
          std::to_string(step));
    };
    observer.struck = [&](Duration at, const Fault& fault) {
      log(stamp(at) + " *** " + describe(fault));
    };
  }
  Checker checker;
  checker.watch(observer);
  SimulatedClock clock{WallTime()};
  EventQueue events(clock);
  ModelledWorkersOptions options = scenario.workers;
  options.world = scenario.options.world;
  ModelledWorkers workers(options, scenario.model, events);
  World world(scenario.options, events, workers, observer);
  for (const Fault& fault : scenario.faults) world.inject(fault);
  for (const auto& [at, request] : scenario.requests) world.ask(at, request);
  world.heal(scenario.heal_at);
  Verdict verdict;
  verdict.summary = world.run(scenario.end_bound);
  checker.finish(world, verdict.summary, scenario.model.num_steps);
  verdict.broken = checker.broken();
  verdict.from_memory = checker.from_memory();
  verdict.generations = world.directory().highest_generation();
  verdict.terms = world.directory().highest_term();
  return verdict;
}

}  // namespace weft::runtime::sim
