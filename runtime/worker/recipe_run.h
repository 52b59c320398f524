// What a walk through a recipe stands on: the job's data, this rank's engine, and where the run is.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "runtime/store/ring_file.h"
#include "runtime/worker/copy_nodes.h"
#include "runtime/worker/recipe.h"
#include "runtime/worker/workload.h"

namespace weft::runtime {

/// job, reporter and clock outlive it. Threads: the worker's.
struct RecipeRun {
  const Job& job;
  RecipeOptions options;
  Reporter& reporter;
  const Clock& clock;
  std::unique_ptr<Workload> workload = nullptr;
  std::unique_ptr<RingFile> ring = nullptr;  // null: nothing is recorded; the engine writes into it
  std::unique_ptr<Engine> engine = nullptr;
  RecipeState state = {};
  CopyNodes nodes = {};           // where copies are kept in memory
  std::string resumed_from = {};  // the checkpoint's name; "": from initial weights

  /// Rank 0 speaks for all: every rank decides alike.
  bool reports() const { return engine->rank() == 0; }
  void event(const std::string& kind, const std::string& message, const nlohmann::json& details);
  void event(const std::string& kind, const std::string& message);
  /// There is a stage under way or to be begun, and what the job calls it.
  bool has_stage() const { return state.stage < static_cast<int>(job.recipe.size()); }
  const std::string& stage_name() const { return job.recipe[state.stage]; }
};

/// Collective. Opens the data, builds the engine, goes on from a checkpoint if there is one.
/// Errors: those of the data, the transport and the checkpoint.
Expected<void> open_run(RecipeRun& run, comm::Transport& transport);

}  // namespace weft::runtime
