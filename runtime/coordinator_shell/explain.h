// Who waited for whom: from where every rank stands in its schedule. The coordinator asks when no
// rank progresses any more; the answer goes into the reason that everybody sees.
#pragma once

#include <string>

#include "runtime/store/run_store.h"

namespace weft::runtime {

struct WaitsExplanation {
  int culprit = -1;  // the first rank that did not do its action; -1: not known
  std::string text;  // "": nothing is known
};

/// Reads the ranks' flight recorders in the run directory; asks nobody.
WaitsExplanation explain_waits(const RunPaths& paths);

}  // namespace weft::runtime
