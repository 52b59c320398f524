// The fault matrix: one fault in one phase of a real run, what it must lead to, and how long it
// took. A table, so that every row is tested alike.
#pragma once

#include <string>
#include <vector>

namespace weft::test {

struct FaultRow {
  const char* fault;   // of the worker: WEFT_FAULT's words; of others: "coordinator kill", ...
  const char* phase;   // forming compute exchange checkpoint rollout shutdown
  bool quick = false;  // of the ordinary tests' subset
};

/// What a row came to; seconds are -1 where there was nothing to be measured.
struct FaultOutcome {
  double detected = -1;   // from the fault to the end of its generation, or the next leader
  double recovered = -1;  // to the first step of the next generation
  std::string problem;    // "": the same numbers as the undisturbed run, nobody left behind
};

const std::vector<FaultRow>& fault_rows();
FaultOutcome try_fault(const FaultRow& row);
std::string print_table(const std::vector<std::pair<FaultRow, FaultOutcome>>& table);

}  // namespace weft::test
