// A recipe walked by a whole world of ranks, each a thread of the test.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/worker/recipe.h"
#include "tests/runtime/engine_world.h"

namespace weft::runtime {

/// What the recipe said on its way, and how it ended.
class KeptRun final : public Reporter {
 public:
  void metrics(const nlohmann::json& record) override {
    losses.push_back(record["loss"]);
    if (record.contains("val_loss")) validation.push_back(record["val_loss"]);
    records.push_back(record);
  }
  void event(const std::string& kind, const std::string&, const nlohmann::json&) override {
    kinds.push_back(kind);
  }
  void samples(long long, const std::vector<nlohmann::json>&) override {}
  void damaged(const std::string& checkpoint) override { found_damaged = checkpoint; }
  void flush() override {}

  std::vector<double> losses, validation;
  std::vector<nlohmann::json> records;
  std::vector<std::string> kinds;
  std::string error;  // of the lowest rank that has one
  std::string found_damaged;
};

inline void lay_out(Job& job, const char* schedule, int pipeline, int data, int micro_batches) {
  job.parallel.schedule = schedule;
  job.parallel.pipeline = pipeline;
  job.parallel.data = job.parallel.expert = data;
  job.parallel.micro_batches = micro_batches;
}

/// Every rank walks the recipe, from the newest checkpoint on or as `resume` says.
inline KeptRun walk_recipe(const Job& job, const std::filesystem::path& checkpoints,
                           const std::optional<std::string>& resume = {}) {
  KeptRun kept;
  const SystemClock clock;
  const auto walk = [&](comm::Transport& transport, int) -> Expected<void> {
    RecipeOptions options;
    options.checkpoints = checkpoints;
    options.stop_requested = [] { return false; };
    options.resume = resume;
    WEFT_TRY_ASSIGN(const auto recipe, Recipe::open(job, transport, options, kept, clock));
    WEFT_TRY(recipe->run());
    return {};
  };
  for (const auto& end : in_world(job.parallel.pipeline * job.parallel.data, walk))
    if (!end && kept.error.empty()) kept.error = end.error().message;
  return kept;
}

}  // namespace weft::runtime
