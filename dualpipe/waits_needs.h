// Which ranks each rank needs to get on, from a schedule and where all stand in it. Internal to the
// room.
#pragma once

#include <vector>

#include "dualpipe/waits.h"

namespace weft::dualpipe {

/// By rank. Empty: it works, or what it does needs nobody; a dead rank and one of which nothing is
/// known need nobody either. Errors: InvalidArgument for sizes that no schedule has.
Expected<std::vector<std::vector<Wait>>> find_needs(const WaitsWorld& world,
                                                    const std::vector<Standing>& standings);

}  // namespace weft::dualpipe
