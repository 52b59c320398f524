// One GRPO step: prompts -> rollout -> rewards -> reference log-probabilities -> group-relative
// advantages -> packed micro-batches -> the same executor and schedule as pre-training.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <vector>

#include "runtime/worker/engine.h"
#include "runtime/worker/recipe_state.h"
#include "runtime/worker/workload.h"

namespace weft::runtime {

struct GrpoStep {
  const Job& job;
  const Workload& workload;
  Engine& engine;
  RecipeState& state;  // adam_step advances
  bool stop;
  bool reports;  // build records and samples (rank 0)

  struct Result {
    std::unique_ptr<nlohmann::json> record;
    std::vector<nlohmann::json> samples;
    long long tokens = 0;
    bool stop = false;
    bool applied = true;
    int tries = 1;  // of the iteration that took most
    std::optional<TrainResult::Corruption> corruption;
  };
  /// Collective.
  Expected<Result> run();
};

}  // namespace weft::runtime
