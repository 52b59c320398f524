// Faults on purpose, for tests and `weft bench faults`: a worker that was started with WEFT_FAULT
// in its environment dies, hangs, throws, ... at a chosen place of a chosen step. Without it a
// fault point costs one look at a variable.
#pragma once

#include <string>

#include "base/expected.h"

namespace weft::runtime {

/// What a worker is doing.
enum class FaultAt { Forming, Compute, Exchange, Checkpoint, Rollout, Shutdown };

/// "do=kill rank=2 step=12 at=compute generation=1": do is kill (SIGKILL), stop (SIGSTOP), throw,
/// exit (code 3), memory (an allocation fails), fail (an error that no retry helps), flip (a byte
/// of the next message received changes), slow (`ms` more each time, by default 5, and it goes on)
/// or hold (it waits there until the file `until` exists, at most a minute, and goes on; for what
/// is done from outside in just this phase). rank defaults to 0 (all: every rank that is started
/// with it, such as those of one node), step to 0 (the first one that comes), generation to 1 (0:
/// every one).
struct Fault {
  std::string what = "kill";
  FaultAt at = FaultAt::Compute;
  int rank = 0;  // -1: all
  long long step = 0;
  int generation = 1;
  long long slow_ms = 5;
  std::string until;
};
/// Errors: InvalidArgument.
Expected<Fault> parse_fault(const std::string& text);

/// Reads WEFT_FAULT, once, for this process. Errors: those of parse_fault.
Expected<void> arm_fault(int rank, int generation);
/// The step that is under way.
void fault_step(long long step);

inline bool fault_armed = false;
/// Does what was asked for here, or nothing. The injected error of do=fail comes back.
Expected<void> meet_fault(FaultAt at);
inline Expected<void> fault_point(FaultAt at) {
  return fault_armed ? meet_fault(at) : Expected<void>();
}

}  // namespace weft::runtime
