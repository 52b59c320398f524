// What every kernel is given besides its operands: where to run and scratch memory to run in.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "trainer/real.h"

namespace weft::trainer::kernels {

/// One per worker thread that calls kernels. CPU: a number of threads and a scratch arena that
/// only grows. A CUDA build adds a stream here.
/// Threads: one at a time.
class Context {
 public:
  explicit Context(int num_threads = 1) : num_threads_(num_threads) {}
  int num_threads() const { return num_threads_; }

  /// At least n elements, 64-byte aligned, contents undefined, valid until the same `slot` is asked
  /// for again. Kernels use slots 0..7, layers 8..31.
  std::span<Real> scratch(int slot, std::size_t n);

 private:
  int num_threads_;
  std::vector<std::vector<Real>> scratch_;
};

}  // namespace weft::trainer::kernels
