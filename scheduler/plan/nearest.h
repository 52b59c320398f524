// The layout nearest to one that does not fit.
#pragma once

#include <optional>

#include "scheduler/plan/what_if.h"

namespace weft::scheduler {

/// A layout that fits the cluster of `inputs`, with as few decisions as possible changed against
/// `from`, which may be none that is legal. Tries the nearest ones first, some hundreds of them;
/// deterministic. Empty: none of those fits.
std::optional<Work> nearest_layout(const Inputs& inputs, const Work& from);

}  // namespace weft::scheduler
