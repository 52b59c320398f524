// Before the first step: are all ranks of one build, and do they mean to run the same thing? A peer
// that does not is refused at once, on every rank, instead of failing somewhere in a step.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "comm/communicator.h"
#include "dualpipe/schedule.h"
#include "scheduler/placement.h"

namespace weft::runtime {

/// "weft 0.1.0, GCC 12.2.0, build 119bd8715a47, wire 1": version, compiler, the linker's id of this
/// binary ("-" where it has none) and the version of the control plane.
std::string build_fingerprint();

/// "dualpipe, pipeline 8, data 2, expert 2, 20 micro-batches, overlap on, schedule 1a2b…, placement
/// 3c4d…": what a person would compare, and hashes of every action and of every rank's place.
std::string plan_fingerprint(const scheduler::Placement& placement,
                             const dualpipe::Schedule& lowered, bool overlap);

/// Collective over `world`. Errors: InvalidArgument naming the ranks of each fingerprint; the same
/// text on every rank. Those of the group.
Expected<void> check_peers(comm::Communicator& world, std::string_view mine);

/// Collective: makes the world's group, checks the peers over it, then makes the other groups of
/// the placement. Result: this rank's end of each group that it belongs to, by name.
Expected<std::map<std::string, std::unique_ptr<comm::Communicator>>> make_groups(
    comm::Transport& transport, const scheduler::Placement& placement,
    std::chrono::milliseconds wait_bound, std::string_view fingerprint);

}  // namespace weft::runtime
