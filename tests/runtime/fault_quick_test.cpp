// The rows of the fault matrix that every test run tries.
#include <gtest/gtest.h>

#include "tests/runtime/fault_matrix.h"

namespace weft::test {
namespace {

TEST(FaultQuick, AKilledWorkerAndAKilledCoordinatorChangeNoNumber) {
  for (const FaultRow& row : fault_rows()) {
    if (!row.quick) continue;
    const FaultOutcome outcome = try_fault(row);
    EXPECT_EQ(outcome.problem, "") << row.fault << " in " << row.phase;
  }
}

}  // namespace
}  // namespace weft::test
