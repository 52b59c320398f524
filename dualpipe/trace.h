// A costed schedule as a Chrome trace, which Perfetto and chrome://tracing open. A step as it was:
// measured_trace.h.
#pragma once

#include <cstdint>
#include <string>

#include "dualpipe/schedule.h"
#include "dualpipe/timeline.h"

namespace weft::dualpipe {

class ChromeWriter;

/// One process a rank with a compute track and its messages in flight; arrows from the slice that
/// made a message to the one that uses it. `unit_us`: microseconds that one unit of cost stands
/// for. `times` must be of this schedule.
std::string to_chrome_trace(const Schedule& schedule, const Timeline& times, double unit_us = 1000);

/// The same as part of another trace: position p becomes process `first_process` + p, named
/// `what` and its number, from `begin_ns` on.
void write_predicted(ChromeWriter& writer, const Schedule& schedule, const Timeline& times,
                     double unit_us, const std::string& what, int first_process,
                     std::int64_t begin_ns);

}  // namespace weft::dualpipe
