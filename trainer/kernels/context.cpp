#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

Context::Context(int num_threads) : num_threads_(num_threads < 1 ? 1 : num_threads) {
  if (num_threads_ == 1) return;
  for (int i = 0; i < num_threads_; ++i) workers_.push_back(std::make_unique<Context>(1));
}

Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;
Context::~Context() = default;

std::byte* Context::scratch_bytes(int slot, std::size_t n) {
  const auto index = static_cast<std::size_t>(slot);
  if (scratch_.size() <= index) scratch_.resize(index + 1);
  auto& memory = scratch_[index];
  if (memory.size() < n) memory = AlignedBytes(n + n / 4);
  return memory.data();
}

Context& Context::worker(int thread) {
  return workers_.empty() ? *this : *workers_[static_cast<std::size_t>(thread)];
}

}  // namespace weft::trainer::kernels
