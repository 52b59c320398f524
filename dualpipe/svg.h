// A schedule as the familiar staircase picture.
#pragma once

#include <string>

#include "dualpipe/schedule.h"
#include "dualpipe/timeline.h"

namespace weft::dualpipe {

/// A stand-alone SVG: one row a rank, time to the right, micro-batch numbers in the cells, a
/// tooltip on each; an overlapped pair shows its forward above its backward. Colours follow the
/// reader's light or dark preference. `times` must be of this schedule.
std::string to_svg(const Schedule& schedule, const Timeline& times);

}  // namespace weft::dualpipe
