// How far a run has come, where it is a run that is planned: only what is left of it costs time.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/expected.h"
#include "runtime/job/job.h"

namespace weft::cli {

struct SoFar {
  std::string state;         // "running", as weft status says it
  std::string stage;         // of the recipe, in which its newest step was; "": none yet
  long long stage_step = 0;  // that step's number in it
  double step_seconds = 0;   // of that step, as the run reported it; 0: unknown
  bool synthetic = false;    // a rehearsal: nothing was measured
};

/// From run.json. Errors: NotFound for what is no run directory.
Expected<SoFar> read_so_far(const std::filesystem::path& run);

/// Steps of `stage` that are done: none before the run is in it, all of them when it is past it.
long long steps_done(const SoFar& run, const runtime::Job& job, const std::string& stage,
                     long long steps_of_stage);

/// "running, step 300 of pretrain, its newest took 17.2 ms". `predicted`: seconds of a step, 0
/// where there is nothing to compare with; says what to do where the two are far apart.
std::string so_far_text(const SoFar& run, double predicted);
nlohmann::json so_far_json(const SoFar& run, double done);

}  // namespace weft::cli
