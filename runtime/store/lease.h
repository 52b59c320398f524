// Does anybody work on a run? `weft run` holds the run directory's lock; agents of several nodes
// hold none: there the lease in the newest claim (terms/<n>/claim.json) tells, whose counter the
// leader renews every second.
#pragma once

#include <vector>

#include "runtime/store/run_store.h"

namespace weft::runtime {

/// Does a leader renew the lease of each of these runs? At once where the claim was written within
/// the last seconds or was given up, or where the run was never made for agents; else all of them
/// are watched together for 6 s, in which a living leader renews several times and a dead one's
/// successor has claimed. No clocks of other hosts are trusted for a "no".
std::vector<bool> are_led(const std::vector<RunPaths>& runs);

/// Either way. Cost: as are_led.
bool is_alive(const RunPaths& paths);

}  // namespace weft::runtime
