#include "trainer/kernels/context.h"

#include <cstdint>

namespace weft::trainer::kernels {

namespace {
constexpr std::size_t kAlignment = 64;
constexpr std::size_t kPadding = kAlignment / sizeof(Real);
}  // namespace

Context::Context(int num_threads) : num_threads_(num_threads < 1 ? 1 : num_threads) {
  if (num_threads_ == 1) return;
  for (int i = 0; i < num_threads_; ++i) workers_.push_back(std::make_unique<Context>(1));
}

Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;
Context::~Context() = default;

std::span<Real> Context::scratch(int slot, std::size_t n) {
  const auto index = static_cast<std::size_t>(slot);
  if (scratch_.size() <= index) scratch_.resize(index + 1);
  auto& memory = scratch_[index];
  if (memory.size() < n + kPadding) memory = std::vector<Real>(n + n / 4 + kPadding);
  const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
  const auto skip = (kAlignment - address % kAlignment) % kAlignment / sizeof(Real);
  return {memory.data() + skip, n};
}

Context& Context::worker(int thread) {
  return workers_.empty() ? *this : *workers_[static_cast<std::size_t>(thread)];
}

}  // namespace weft::trainer::kernels
