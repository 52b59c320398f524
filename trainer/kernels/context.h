// What every kernel is given besides its operands: where to run and scratch memory to run in.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "trainer/kernels/aligned.h"
#include "trainer/real.h"

namespace weft::trainer::kernels {

/// One per worker thread that calls kernels. CPU: a number of threads and a scratch arena that
/// only grows. A CUDA build adds a stream here.
/// Threads: one at a time.
class Context {
 public:
  explicit Context(int num_threads = 1);
  Context(Context&&) noexcept;
  Context& operator=(Context&&) noexcept;
  ~Context();

  int num_threads() const { return num_threads_; }

  /// At least n elements, 64-byte aligned, contents undefined, valid until the same `slot` is asked
  /// for again. Kernels use slots 0..7, layers 8..31.
  std::span<Real> scratch(int slot, std::size_t n);

  /// Inside a parallel region: the single-threaded context of thread `thread` < num_threads(), with
  /// scratch of its own. Lives as long as this one.
  Context& worker(int thread);

  /// The matrix-product library's state (matmul_*.cpp); made on first use.
  struct Products;
  Products& products();

 private:
  int num_threads_;
  std::vector<AlignedVector> scratch_;
  std::vector<std::unique_ptr<Context>> workers_;
  std::shared_ptr<Products> products_;
};

}  // namespace weft::trainer::kernels
