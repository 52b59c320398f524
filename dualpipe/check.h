// Proves a schedule, or says why it cannot run.
#pragma once

#include <string>
#include <vector>

#include "dualpipe/schedule.h"

namespace weft::dualpipe {

struct Problem {
  int rank = 0;
  int action = -1;   // index in the rank's program; -1: the program as a whole
  std::string what;  // a sentence with the chunk, the ranks and what to change
};

struct CheckReport {
  std::vector<Problem> problems;      // empty: the schedule is sound
  std::vector<int> peak_activations;  // per rank; empty when chunks do not exist
  std::string text;                   // for people: verdict, problems, the grid with marks
  bool ok() const { return problems.empty(); }
};

/// Checks, and stops at the first stage that fails, since later ones would only repeat it:
/// 1. every micro-batch goes forward once and backward once per direction and stage, W once after
///    its BI, on the rank that holds the stage (a schedule without any backward is taken as
///    forward only);
/// 2. the order is possible across ranks;
/// 3. messages: one send and one receive for each hand-over between ranks, after what makes it and
///    before what needs it, the same order on both sides of each directed pair;
/// 4. no deadlock when sends are buffered and none when a send waits for its receive. Messages that
///    stand together are started together; the next action waits for all of them.
/// A schedule without messages is checked with those that add_messages gives it.
/// Accepts anything, also what came from a file.
CheckReport check(const Schedule& schedule);

/// Activations alive at once, per rank: from the forward until the weight gradient is done. An
/// overlapped pair counts its forward before its backward. Requires chunks that exist.
std::vector<int> peak_activations(const Schedule& schedule);

}  // namespace weft::dualpipe
