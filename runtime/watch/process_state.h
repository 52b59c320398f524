// What the kernel says of a worker's process.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "dualpipe/waits.h"

namespace weft::runtime {

/// `known_ns`: a moment of this host's monotonic clock at which the process was alive; another one
/// that has its number by now counts as Gone.
dualpipe::Standing::Process process_state(pid_t pid, std::int64_t known_ns);

}  // namespace weft::runtime
