// Schedules as text and JSON.
//
//   weft.schedule/v1 kind=dualpipe ranks=2 micro_batches=4
//   0: F:0.0.0 F:1.1.0 FB:0.0.1+1.1.0 SendF:0.0.0>1 RecvF:1.1.0<1 Reduce:0 Update Snapshot
//
// A token is OP:direction.stage.micro-batch; FB joins its forward and its backward by '+', a send
// names its peer after '>', a receive after '<'. '#' starts a comment, an indented line goes on
// with the rank above it.
#pragma once

#include <string>
#include <string_view>

#include "base/expected.h"
#include "dualpipe/schedule.h"
#include "dualpipe/timeline.h"

namespace weft::dualpipe {

/// One header line, then one line a rank. parse(to_text(s)) == s.
std::string to_text(const Schedule& schedule);
/// Errors: InvalidArgument with line, column and what was expected. Reads any order of actions,
/// also nonsense: pass the result to check().
Expected<Schedule> parse(std::string_view text);
/// "FB:0.0.1+1.1.0": one token of the text form.
std::string to_token(const Action& action);

/// Schema weft.schedule/v1 with makespan, bubble and peak activations for these costs.
/// Errors: as timeline().
Expected<std::string> to_json(const Schedule& schedule, const Costs& costs = {});

}  // namespace weft::dualpipe
