// Every row of the fault matrix, printed as the README's table.
#include "tests/runtime/fault_matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string_view>
#include <thread>

namespace weft::test {
namespace {

using Table = std::vector<std::pair<FaultRow, FaultOutcome>>;

/// Rows mostly wait for something to be noticed: several at a time.
void try_all(Table& table, int at_once) {
  std::atomic<std::size_t> next = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < at_once; ++i)
    threads.emplace_back([&] {
      for (std::size_t row; (row = next++) < table.size();) {
        const auto begun = std::chrono::steady_clock::now();
        table[row].second = try_fault(table[row].first);
        table[row].second.took =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
      }
    });
}

TEST(FaultMatrix, NoFaultInAnyPhaseChangesANumberOrLeavesAnybodyBehind) {
  // WEFT_FAULT_ROWS=kill: only rows that hold the word. WEFT_FAULT_JOBS=1: one at a time, for times
  // that nothing else of ours disturbs.
  const char* only = std::getenv("WEFT_FAULT_ROWS");
  const char* jobs = std::getenv("WEFT_FAULT_JOBS");
  Table table;
  for (const FaultRow& row : fault_rows()) {
    const std::string name = std::string(row.fault) + " in " + row.phase;
    if (only == nullptr || name.find(only) != std::string::npos) table.push_back({row, {}});
  }
  try_all(table, jobs == nullptr ? 3 : std::max(1, std::atoi(jobs)));
  for (const auto& [row, outcome] : table) {
    if (outcome.problem.starts_with("skipped: ")) continue;
    EXPECT_EQ(outcome.problem, "") << row.fault << " in " << row.phase;
  }
  std::cout << print_table(table);
}

}  // namespace
}  // namespace weft::test
