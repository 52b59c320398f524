// Which layouts exist at all, whatever the cluster.
#pragma once

#include <string>
#include <vector>

#include "scheduler/work.h"

namespace weft::scheduler {

/// Ranks, sequences and the like beyond this are typing mistakes.
inline constexpr int kLayoutMax = 1'000'000;

/// Everything that keeps `work` from being laid out, each naming its fields; empty: it can be
/// placed and its schedule generated.
std::vector<std::string> layout_problems(const Work& work);

/// The same as one answer, without the words.
bool legal(const Work& work);

}  // namespace weft::scheduler
