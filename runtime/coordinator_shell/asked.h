// What a person's request means to the coordinator. Pure.
#pragma once

#include <vector>

#include "runtime/coordinator/coordinator.h"
#include "runtime/store/requests.h"

namespace weft::runtime {

std::vector<Event> events_of(const RunRequest& request);

}  // namespace weft::runtime
