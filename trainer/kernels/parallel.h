// Independent pieces of work on a context's threads.
#pragma once

#include <omp.h>

#include <cstddef>
#include <cstdint>

#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

/// run(worker, i) for every i in [0, n), in no particular order; each worker context is used by one
/// thread. With one thread: in order, here.
template <class Run>
void parallel_for(Context& context, int n, const Run& run) {
  if (context.num_threads() == 1) {
    for (int i = 0; i < n; ++i) run(context, i);
    return;
  }
#pragma omp parallel for schedule(dynamic) num_threads(context.num_threads())
  for (int i = 0; i < n; ++i) run(context.worker(omp_get_thread_num()), i);
}

/// run(first, end) over parts of [0, rows), in no particular order and on any thread: for rows that
/// do not know of each other. Small jobs stay here, where starting threads would cost more.
template <class Run>
void parallel_rows(Context& context, int rows, int row_size, const Run& run) {
  constexpr int kWorthIt = 1 << 16;  // elements
  const int parts = context.num_threads();
  if (parts == 1 || static_cast<std::ptrdiff_t>(rows) * row_size < kWorthIt) {
    run(0, rows);
    return;
  }
#pragma omp parallel for schedule(static) num_threads(parts)
  for (int part = 0; part < parts; ++part) {
    const auto at = [&](int i) {
      return static_cast<int>(static_cast<std::int64_t>(rows) * i / parts);
    };
    run(at(part), at(part + 1));
  }
}

}  // namespace weft::trainer::kernels
