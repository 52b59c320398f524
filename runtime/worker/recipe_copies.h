// Copies of the state in the nodes' memory, between checkpoints: what a run goes on from when a
// worker dies and, where several nodes keep them together (node_copies.h), when a node does. Same
// files and hashes as on the disk, in a directory of the agent's that lies in memory
// (runtime/agent/memory_root.h).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "runtime/worker/recipe_run.h"

namespace weft::runtime {

/// In bytes. 0 for `limit`: none is set.
struct MemoryRoom {
  double free_in_root = 0;  // of the file system in memory
  double available = 0;     // of the node's memory
  double held = 0;          // by copies of before, which go when new ones come
  double limit = 0;
};

/// "" when copies of so many bytes fit: two complete ones, one being made, and what the ranks put
/// aside for it; beside them half of the memory stays free. Else what is too little. Pure.
std::string why_no_room(double bytes_of_copy, const MemoryRoom& room);

/// Threads: the worker's.
class RecipeCopies {
 public:
  explicit RecipeCopies(RecipeRun& run) : run_(run) {}

  /// Collective, of a run that has been opened. There will be copies when every node has room for
  /// its own; rank 0 says why when there will be none: that is no error.
  Expected<void> open();
  /// Rank 0: is the state after the step that comes to be copied? The step's sum tells the others.
  void before_step();
  /// Begins the copy of the state as it is, if one was wanted; tells what was made before. All
  /// ranks call it after the same steps. What it cost goes into the record of the next step.
  void after_step();
  void add_cost(nlohmann::json& record);

 private:
  std::string why_not_here(double bytes);
  Expected<std::string> why_not();
  Expected<std::string> share();
  void begin();
  void tell_finished();
  void allow_when_flushed();

  RecipeRun& run_;
  bool on_ = false;     // rank 0: wishes for copies
  bool tells_ = false;  // this rank: speaks for its node's copies
  double bytes_ = 0;    // of the state
  struct Flush {
    long long number = 0;
    long long step = 0;
  };
  std::optional<Flush> flush_;  // rank 0: of the copy that waits for it
  double stall_seconds_ = 0;
};

}  // namespace weft::runtime
