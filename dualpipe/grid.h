// A schedule as a table of characters: one line a rank, one column a unit of time.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "dualpipe/schedule.h"
#include "dualpipe/timeline.h"

namespace weft::dualpipe {

/// An action to point at: it is printed between '>' and '<', also if it never ran.
struct Mark {
  int rank = 0;
  int action = 0;
};

/// Compute actions at their times (rounded to units). F3, B3, I3 (backward for input), W3 are
/// micro-batch 3 of direction 0; small letters are direction 1; "F3b1" is an overlapped pair.
std::string grid(const Schedule& schedule, const Timeline& times,
                 const std::vector<Mark>& marks = {});

/// "F3", "b1", "F3b1".
std::string cell(const Action& action);

}  // namespace weft::dualpipe
