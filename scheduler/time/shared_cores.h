// A schedule whose ranks take turns on fewer cores than they are: a CPU host.
#pragma once

#include <functional>

#include "dualpipe/timeline.h"
#include "scheduler/cluster/cluster.h"
#include "scheduler/work.h"

namespace weft::scheduler {

/// When the last of layout.data copies of the schedule has ended on the cores of one node: whoever
/// is ready first gets the next free core and keeps it for one action; one that waited for a
/// message goes on node.wakeup after it came. `seconds_of` an action; `send`: of a message. 0 where
/// every rank has its own core, or there are too many actions to walk.
double shared_makespan(const dualpipe::Schedule& schedule, const Work& work, const Cluster& cluster,
                       const std::function<double(const dualpipe::Action&)>& seconds_of,
                       double send);

}  // namespace weft::scheduler
