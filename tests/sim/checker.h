// The promises that hold whatever happens, checked while a simulated cluster runs and at its end.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "runtime/sim/world.h"

namespace weft::runtime::sim {

class Checker {
 public:
  /// Hooks itself into the observer; must outlive the world.
  void watch(Observer& observer);
  /// After the run. `steps`: of the whole run.
  void finish(const World& world, const Summary& summary, std::int64_t steps);

  /// In the order in which they were seen; empty: every promise was kept.
  const std::vector<std::string>& broken() const { return broken_; }
  /// Generations that went on from a copy in memory.
  int from_memory() const { return from_memory_; }

 private:
  void check_decision(Duration at, const CoordinatorState& state, const Event& event,
                      const std::string& reason);
  void check_line(Duration at, const CoordinatorState& state, const Event& event);
  static bool is_whole(const CoordinatorState& state, const Checkpoint& copy);
  void check_agent(Duration at, const AgentState& state);
  void check_steps(const World& world, const CoordinatorState& last, const Summary& summary,
                   std::int64_t steps);
  void wrong(Duration at, const std::string& what);

  std::set<std::int64_t> terms_;
  std::map<std::int64_t, std::size_t> line_size_;                         // by term
  std::map<std::int64_t, std::pair<std::int64_t, std::int64_t>> formed_;  // -> term, resumed
  std::map<std::pair<std::string, std::uint64_t>, std::int64_t> obeyed_;  // by agent
  std::set<std::pair<std::int64_t, std::int64_t>> made_;                  // generation, step
  std::map<std::int64_t, std::size_t> bans_;                              // by term
  int from_memory_ = 0;
  std::vector<std::string> broken_;
};

}  // namespace weft::runtime::sim
