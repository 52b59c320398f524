// The part of check() that is about messages. Internal to the room.
#pragma once

#include <vector>

#include "dualpipe/check.h"

namespace weft::dualpipe {

/// Requires compute actions that are complete and in a possible order. Checks pairing, order per
/// directed pair, and deadlock with buffered and with rendezvous sends.
std::vector<Problem> check_messages(const Schedule& schedule);

}  // namespace weft::dualpipe
