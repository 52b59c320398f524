// Independent pieces of work on a context's threads.
#pragma once

#include <omp.h>

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

}  // namespace weft::trainer::kernels
