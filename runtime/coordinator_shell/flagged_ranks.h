// What a worker's record asks the coordinator to decide: ranks that are lastingly slow, and ranks
// whose numbers are wrong. Pure.
#pragma once

#include <string>
#include <vector>

#include "runtime/coordinator/coordinator.h"

namespace weft::runtime {

/// Of a record's message (JSON text, not trusted): an event "straggler" that asks for a swap flags
/// its rank; an event "corruption" that proves one rank wrong flags that one. One that may be any
/// of several proves nothing. Everything else: empty.
std::vector<StragglerFlagged> flagged_in(std::int64_t generation, const std::string& message);

}  // namespace weft::runtime
