// What one step of any stage of a recipe came to, for whoever judges it, reports it and goes on.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <vector>

#include "runtime/worker/engine.h"

namespace weft::runtime {

struct StepOutcome {
  bool stop = false;                       // some rank was asked to stop
  std::unique_ptr<nlohmann::json> record;  // what the metrics say of this step; never null
  long long tokens = 0;
  bool applied = true;
  std::vector<double> expert_load;
  bool finite = true;
  int tries = 1;
  std::optional<TrainResult::Corruption> corruption;
};

}  // namespace weft::runtime
