// The agents of control_bench: a process in which each of them does at once what it is told.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "runtime/control/channel.h"

namespace weft::runtime {

inline constexpr int kRanksPerNode = 8;
inline constexpr std::int64_t kTerm = 2;  // the first is the submission's

inline Instant now() { return std::chrono::steady_clock::now(); }
inline double seconds_between(Instant from, Instant to) {
  return std::chrono::duration<double>(to - from).count();
}

/// What the agents' process shows to the one that measures.
struct Shared {
  std::atomic<int> released{0};  // nodes that were told to work in `generation`
  std::atomic<std::int64_t> generation{0};
  std::atomic<bool> collecting{false};
  std::atomic<int> answers{0};
  double answer_seconds[1 << 18];  // from a report's sending to its answer's arrival
};

/// `count` agents of nodes with kRanksPerNode ranks, in one thread, until this process is killed.
/// SIGUSR1 lets a worker of the first die.
[[noreturn]] void run_agents(const std::string& endpoint, const RunKeys& keys, int count,
                             Shared& shared);

}  // namespace weft::runtime
