// What people ask of a run that lives: one small file each in the run directory's requests/, put
// there by the asking verb and taken by whoever leads the run. Whoever may write there may run code
// as us anyway (private_directory.h), so there is nobody else to keep out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "runtime/store/run_store.h"

namespace weft::runtime {

struct RunRequest {
  enum class Kind {
    Stop,  // after the step, with a checkpoint
    StopNow,
    Pause,  // the same as Stop, but the run waits for Continue
    Continue,
    Save,     // a checkpoint after step `at_step`, 0: the present one
    Exclude,  // `node` is used no more, for `seconds` (0: until it is included), because of
              // `reason`
    Include,
  };
  Kind kind = Kind::Stop;
  std::int64_t at_step = 0;
  std::string node;
  std::string reason;
  double seconds = 0;
  std::string name;  // of its file, once it was taken: events that answer it say so ("asked")
};

/// Leaves a request; the file vanishes when it is taken. Errors: InvalidArgument, Io.
Expected<std::filesystem::path> put_request(const RunPaths& paths, const RunRequest& request,
                                            const Clock& clock);

struct TakenRequests {
  std::vector<RunRequest> requests;  // as they were put
  std::vector<std::string> refused;  // what is wrong with the others
};

/// Takes what has been left: the files are gone, also those that could not be read. Cheap when
/// there are none. Errors: Io.
Expected<TakenRequests> take_requests(const RunPaths& paths);

}  // namespace weft::runtime
