// A comparison as JSON: of weft drift, and of the event in a run's store.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "runtime/drift/drift.h"

namespace weft::runtime {

/// {step, phases, ranks, slowest}; seconds.
nlohmann::json to_json(const Drift& drift);

}  // namespace weft::runtime
