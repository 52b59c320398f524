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

  /// At least n numbers, 64-byte aligned, contents undefined, valid until the same `slot` is asked
  /// for again. Kernels use slots 0..7, layers 8..31.
  template <class T = Real>
  std::span<T> scratch(int slot, std::size_t n) {
    return {reinterpret_cast<T*>(scratch_bytes(slot, n * sizeof(T))), n};
  }

  /// Inside a parallel region: the single-threaded context of thread `thread` < num_threads(), with
  /// scratch of its own. Lives as long as this one.
  Context& worker(int thread);

  /// The matrix-product library's state (matmul_*.cpp); made on first use.
  struct Products;
  Products& products();

 private:
  std::byte* scratch_bytes(int slot, std::size_t n);

  int num_threads_;
  std::vector<AlignedBytes> scratch_;
  std::vector<std::unique_ptr<Context>> workers_;
  std::shared_ptr<Products> products_;
};

}  // namespace weft::trainer::kernels
