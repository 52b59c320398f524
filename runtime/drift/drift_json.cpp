#include "runtime/drift/drift_json.h"

#include <nlohmann/json.hpp>

namespace weft::runtime {

using nlohmann::json;

namespace {

json as_json(const PhaseDrift& one) {
  return {{"phase", one.phase},
          {"rank", one.rank},
          {"count", one.count},
          {"predicted_seconds", one.predicted},
          {"measured_seconds", one.measured},
          {"ratio", one.ratio()}};
}

}  // namespace

json to_json(const Drift& drift) {
  json out = {{"step",
               {{"predicted_seconds", drift.step_predicted},
                {"measured_seconds", drift.step_measured},
                {"measured_quartiles", {drift.step_low, drift.step_high}}}},
              {"phases", json::array()},
              {"ranks", json::array()},
              {"slowest",
               {{"rank", drift.slowest_rank},
                {"phase", drift.slowest_phase},
                {"ratio_to_median", drift.slowest_ratio}}}};
  for (const PhaseDrift& one : drift.phases) out["phases"].push_back(as_json(one));
  for (const PhaseDrift& one : drift.ranks) out["ranks"].push_back(as_json(one));
  return out;
}

}  // namespace weft::runtime
