// Walks a job's recipe (pretrain, cold start, GRPO) on one rank's engine. Every rank runs the same
// recipe on the same values and decides alike; only rank 0 reports.
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "runtime/coordinator/messages.h"
#include "runtime/job/job.h"
#include "runtime/worker/engine.h"
#include "runtime/worker/recipe_state.h"

namespace weft::runtime {

/// Where rank 0's records go. Threads: the worker's.
class Reporter {
 public:
  virtual ~Reporter() = default;
  virtual void metrics(const nlohmann::json& record) = 0;
  virtual void event(const std::string& kind, const std::string& message,
                     const nlohmann::json& details) = 0;
  virtual void samples(long long step, const std::vector<nlohmann::json>& lines) = 0;
  /// What this rank is at, on every rank: `step` is the last complete one, -1: none yet.
  enum class Moved { Loading, Stepping, Saving, Other };
  virtual void moved(Moved /*what*/, long long /*step*/, double /*step_seconds*/) {}
  /// The checkpoint that was to be resumed from cannot be read whole, said on every rank before it
  /// fails.
  virtual void damaged(const std::string& /*checkpoint*/) {}
  /// Rank 0: a whole copy of the state lies in the node's memory. Said after the records of all
  /// steps up to there, on the same way: who hears of the copy has them.
  /// Where several nodes keep it together: the first rank of each, of what that node has.
  virtual void copied(const MemoryCopy& /*copy*/) {}
  /// Returns once all of the above is stored, or after a short bound: a checkpoint is committed
  /// only after it, so that no step before a checkpoint is ever missing from the metrics.
  virtual void flush() = 0;
  /// Asks for the same and does not wait: is_flushed() of the number that it returns says when.
  virtual long long begin_flush() { return 0; }
  virtual bool is_flushed(long long /*number*/) { return true; }
};

struct RecipeOptions {
  std::filesystem::path checkpoints;   // the run's ckpt/
  std::filesystem::path traces;        // the run's traces/; empty: nothing is recorded
  std::filesystem::path memory;        // where the node keeps copies of the state; empty: nowhere
  std::string no_memory;               // why so
  std::string node, leaf;              // where this rank is: ranks of one node share its memory
  std::string listen = "127.0.0.1";    // where other nodes reach this one
  std::array<std::byte, 32> secret{};  // of the generation; read where there are several nodes
  int attempt = 1;
  std::string fingerprint;  // of the model's shape and tokenizer
  /// The checkpoint to go on from, of those in `checkpoints`; "": begin from initial weights; none:
  /// nobody has chosen, the newest complete one.
  std::optional<std::string> resume;
  std::int64_t resume_generation = 0;  // that wrote it
  /// Asked between steps.
  std::function<bool()> stop_requested;
  /// The newest request to save; none: nobody can ask. Asked between steps, rank 0's answer counts.
  std::function<SaveRequest()> save_requested;
};

enum class RecipeEnd { Complete, Stopped };

class Recipe {
 public:
  /// Collective: loads data, builds the engine, reads the checkpoint that options.resume says.
  static Expected<std::unique_ptr<Recipe>> open(const Job& job, comm::Transport& transport,
                                                RecipeOptions options, Reporter& reporter,
                                                const Clock& clock);
  virtual ~Recipe() = default;

  virtual Expected<RecipeEnd> run() = 0;
  virtual const RecipeState& state() const = 0;
  virtual Engine& engine() = 0;
};

}  // namespace weft::runtime
