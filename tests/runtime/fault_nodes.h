// The rows of the fault matrix that are about whole nodes: agents killed, links cut.
#pragma once

#include "tests/runtime/fault_matrix.h"

namespace weft::test {

const std::vector<FaultRow>& node_fault_rows();
bool is_node_fault(const FaultRow& row);
/// Three nodes of two slots, the third a spare, four ranks. A node is hurt in the middle of the
/// run; the result is that of one undisturbed node, to the bit. problem "skipped: ...": this
/// machine cannot cut links.
FaultOutcome try_node_fault(const FaultRow& row);

}  // namespace weft::test
