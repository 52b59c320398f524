// Who waited for whom in a run, from the mapped rings of its run directory: asks no worker, so that
// it also tells of one that hangs, is stopped, or was killed.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/expected.h"
#include "dualpipe/waits.h"

namespace weft::runtime {

struct RunDiagnosis {
  dualpipe::WaitsWorld world;
  std::vector<dualpipe::Standing> standings;  // by rank
  dualpipe::Diagnosis found;
  bool over = false;  // no process of the run is left: ages are before its last sign of life
  std::vector<std::string> unreadable;  // rings that could not be read, each with the reason
  std::string text;                     // for people: the culprits, then who waits for them

  /// The likeliest, or -1.
  int culprit() const { return found.culprits.empty() ? -1 : found.culprits.front().rank; }
};

struct DiagnoseOptions {
  /// Between two looks: who stands elsewhere at the second one moves. 0: one look.
  Duration look_again = std::chrono::milliseconds(20);
};

/// `traces`: the directory with the rings (RunPaths::traces). Takes milliseconds, writes nothing.
/// Rings of an attempt before the newest are left out: their ranks count as silent.
/// Errors: NotFound when there is no ring (trace.steps is 0, or no worker came so far).
Expected<RunDiagnosis> diagnose_run(const std::filesystem::path& traces, const Clock& clock,
                                    const DiagnoseOptions& options = {});

/// {"culprit", "text", "over", "culprits": [{rank, why, action, step, ..., seconds}],
/// "waits": [{from, to, text}]}: details of a `diagnosis` event and of `weft status -o json`.
nlohmann::json to_json(const RunDiagnosis& diagnosis);

}  // namespace weft::runtime
