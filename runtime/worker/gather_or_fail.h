// What every rank has to say where a rank may have failed: then nobody goes on alone.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/expected.h"
#include "comm/communicator.h"
#include "dualpipe/recorder.h"

namespace weft::runtime {

/// Collective. Every rank's text, or the first failed rank's error, with its rank, on all of them.
Expected<std::vector<std::string>> gather_or_fail(comm::Communicator& world,
                                                  dualpipe::StepRecorder* recorder,
                                                  const Expected<std::string>& mine);

/// The same where there is nothing to say but how it went.
Expected<void> all_or_fail(comm::Communicator& world, dualpipe::StepRecorder* recorder,
                           const Expected<void>& mine);

/// Collective. Rank 0's text on every rank; `make` runs on rank 0 only.
Expected<std::string> from_rank_0(comm::Communicator& world, dualpipe::StepRecorder* recorder,
                                  const std::function<Expected<std::string>()>& make);

}  // namespace weft::runtime
