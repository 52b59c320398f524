// Every legal size up to a bound, for exhaustive tests.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "dualpipe/schedule.h"
#include "dualpipe/text.h"

namespace weft::dualpipe {

inline const std::vector<Kind> kAllKinds = {Kind::GPipe,      Kind::OneFOneB, Kind::Interleaved,
                                            Kind::ZeroBubble, Kind::ZBV,      Kind::DualPipe,
                                            Kind::DualPipeV};

/// Calls body(schedule) for each kind and legal size up to these.
template <class Body>
void for_all_sizes(int max_ranks, int max_micro_batches, Body body) {
  for (Kind kind : kAllKinds) {
    for (int ranks = 1; ranks <= max_ranks; ++ranks) {
      for (int n = 1; n <= max_micro_batches; ++n) {
        for (int chunks = 2; chunks <= (kind == Kind::Interleaved ? 3 : 2); ++chunks) {
          const auto schedule = generate(kind, {ranks, n, chunks});
          if (!schedule) continue;
          SCOPED_TRACE(testing::Message() << to_string(kind) << " ranks " << ranks
                                          << " micro-batches " << n << " chunks " << chunks);
          body(*schedule);
          if (testing::Test::HasFailure()) {
            ADD_FAILURE() << to_text(*schedule);
            return;
          }
        }
      }
    }
  }
}

inline Schedule must_generate(Kind kind, int ranks, int micro_batches, int chunks = 2) {
  auto schedule = generate(kind, {ranks, micro_batches, chunks});
  EXPECT_TRUE(schedule) << (schedule ? "" : schedule.error().message);
  return schedule ? *schedule : Schedule{};
}

}  // namespace weft::dualpipe
