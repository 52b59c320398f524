// Every row of the fault matrix, printed as the README's table.
#include "tests/runtime/fault_matrix.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <string_view>

namespace weft::test {
namespace {

TEST(FaultMatrix, NoFaultInAnyPhaseChangesANumberOrLeavesAnybodyBehind) {
  // WEFT_FAULT_ROWS=kill: only rows that hold the word.
  const char* only = std::getenv("WEFT_FAULT_ROWS");
  std::vector<std::pair<FaultRow, FaultOutcome>> table;
  for (const FaultRow& row : fault_rows()) {
    const std::string name = std::string(row.fault) + " in " + row.phase;
    if (only != nullptr && name.find(only) == std::string::npos) continue;
    table.emplace_back(row, try_fault(row));
    if (table.back().second.problem.starts_with("skipped: ")) continue;
    EXPECT_EQ(table.back().second.problem, "") << name;
  }
  std::cout << print_table(table);
}

}  // namespace
}  // namespace weft::test
