// What one seed draws: a cluster, a job, people and misfortunes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/sim/modelled_workers.h"
#include "runtime/sim/world.h"

namespace weft::runtime::sim {

struct Scenario {
  WorldOptions options;
  ModelledWorkersOptions workers;  // world: as in options
  EvenModel model;
  std::vector<Fault> faults;
  std::vector<std::pair<Duration, Event>> requests;
  Duration heal_at = std::chrono::seconds(45);    // from here on nothing goes wrong any more
  Duration end_bound = std::chrono::minutes(15);  // and by then the run has ended
};

Scenario draw_scenario(std::uint64_t seed);
/// A quiet cluster of this size, to put single misfortunes into.
Scenario quiet_scenario(int nodes, int slots, int world);
std::string describe(const Scenario& scenario);

struct Verdict {
  Summary summary;
  std::vector<std::string> broken;
  std::int64_t generations = 0, terms = 0;
  int from_memory = 0;  // generations that went on from a copy in memory
};

/// Runs it with every promise checked. log: told what is decided, a line each; may be empty.
Verdict run_scenario(const Scenario& scenario,
                     const std::function<void(const std::string&)>& log = {});

}  // namespace weft::runtime::sim
