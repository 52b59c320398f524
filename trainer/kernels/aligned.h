// Memory for numbers that starts at a cache line: vector loads that straddle two lines cost double.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

#include "trainer/real.h"

namespace weft::trainer {

template <class T>
struct AlignedAllocator {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{64};

  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) {}

  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kAlignment)); }
  void deallocate(T* p, std::size_t) { ::operator delete(p, kAlignment); }
  friend bool operator==(const AlignedAllocator&, const AlignedAllocator&) { return true; }
};

using AlignedVector = std::vector<Real, AlignedAllocator<Real>>;
using AlignedBytes = std::vector<std::byte, AlignedAllocator<std::byte>>;

}  // namespace weft::trainer
