// The state that a submission begins with: that of the run so far, if there is one, with its end
// taken back.
#pragma once

#include "base/clock.h"
#include "runtime/coordinator/coordinator.h"
#include "runtime/coordinator_shell/journal.h"
#include "runtime/store/run_store.h"

namespace weft::runtime {

/// The newest journal of any term up to `below` that can be read, with its state.
struct LastKnown {
  JournalEntry entry;
  CoordinatorState state;
};
/// Errors: NotFound when there is none; Corrupt; Unsupported when a newer weft wrote it.
Expected<LastKnown> last_known(const RunPaths& paths, std::int64_t below, Instant now);

/// Every complete checkpoint of the run. Errors: Io.
Expected<std::vector<Checkpoint>> complete_checkpoints(const RunPaths& paths);

/// Can begin_run go on from what is in the directory? Changes nothing. Errors: those of begin_run.
Expected<void> can_go_on(const RunPaths& paths, const Clock& clock);

/// Prepares a run directory for coordinators: takes the next term, already given up, and leaves a
/// journal in it from which any coordinator goes on. Call it while nobody leads (the lock is ours).
/// Errors: those of last_known except NotFound; Io.
Expected<void> begin_run(const RunPaths& paths, int world, const Clock& clock);

}  // namespace weft::runtime
