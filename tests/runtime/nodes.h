// Several agents of the real binary on one machine, as the nodes of a run; where the machine allows
// it, each in a network namespace of its own, so that its link can be cut.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/runtime/run_harness.h"

namespace weft::test {

/// Namespaces with a link each to one bridge: 10.77.0.1, .2, ... Everything is in namespaces of
/// this thread, so that nothing is left when the process ends, however it ends. Threads: one.
class Network {
 public:
  /// Why this machine cannot do it, or "". The first call moves this thread into a namespace of
  /// its own.
  static std::string why_not();

  explicit Network(int nodes);
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  static std::string address(int node) { return "10.77.0." + std::to_string(node + 1); }
  /// Words in front of a command that is to run there.
  static std::vector<std::string> launcher(int node);
  /// Nothing goes through the node's link any more, and nobody is told.
  void cut(int node);
  void mend(int node);

 private:
  int nodes_;
};

/// A run that was prepared for agents, and its agents.
class Nodes {
 public:
  /// `more`: further arguments of `weft run --prepare`.
  Nodes(const std::string& job, const std::filesystem::path& run,
        const std::vector<std::string>& more = {});

  /// Starts the agent of node "n<number>"; the lower numbers lead first. `networked`: in its own
  /// namespace.
  Weft& start(int number, int slots, bool networked = false,
              const std::vector<std::string>& environment = {});
  Weft& agent(int number) { return *agents_.at(number); }
  /// The node that leads, by the newest claim, or -1.
  int leader() const;
  long long steps() const { return steps_of(run_); }
  bool anybody_running();
  /// Until one of them told this in events.jsonl; false after a minute, or when all have ended.
  bool told(const std::string& words);
  /// All agents have ended with this code, in time, and nobody that they started is left. What is
  /// wrong, or "". Those that were killed may have any.
  std::string end_with(int code);

 private:
  std::filesystem::path run_;
  std::map<int, std::unique_ptr<Weft>> agents_;
};

/// Is there an event whose message holds the words?
bool was_told(const std::filesystem::path& run, const std::string& words);

/// The metrics of the same pre-training by `weft run` alone: its first `count` steps of `steps`.
/// The last step of a run that comes to its end tells more than the same step of a longer one.
std::vector<nlohmann::json> metrics_on_one_node(const std::string& job, std::size_t count,
                                                std::size_t steps);

}  // namespace weft::test
