// The last look before anything is done: has somebody else claimed a later term? Pure.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "runtime/coordinator/coordinator.h"

namespace weft::runtime {

/// Call it between the journal and the actions that wait for it, with the highest term that the
/// directory shows then. A successor claims its term before it reads our journal: one that has not
/// claimed by now will see what was decided. With one that has, nothing is done any more: what
/// waits is dropped, and the event that is to be decided comes back.
inline std::optional<LeaseRenewed> look_for_successor(std::int64_t term, std::int64_t highest,
                                                      std::deque<CoordinatorAction>& waiting) {
  if (highest <= term) return std::nullopt;
  waiting.clear();
  return LeaseRenewed{highest};
}

}  // namespace weft::runtime
