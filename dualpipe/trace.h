// A costed schedule as a Chrome trace, which Perfetto and chrome://tracing open.
#pragma once

#include <string>

#include "dualpipe/schedule.h"
#include "dualpipe/timeline.h"

namespace weft::dualpipe {

/// One process a rank with a compute track and its messages in flight; arrows from the slice that
/// made a message to the one that it reaches. `unit_us`: microseconds that one unit of cost stands
/// for. `times` must be of this schedule.
std::string to_chrome_trace(const Schedule& schedule, const Timeline& times, double unit_us = 1000);

}  // namespace weft::dualpipe
