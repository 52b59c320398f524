// A steady step allocates nothing. oneDNN's own small allocations inside a primitive's execution
// are not counted: they are told apart by the library that called.
#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#include "model_fixture.h"

namespace {
std::atomic<bool> counting{false};
std::atomic<long> allocations{0};

void* counted(std::size_t n, const void* caller) {
  if (counting.load()) {
    Dl_info info{};
    const bool library = dladdr(caller, &info) != 0 && info.dli_fname != nullptr &&
                         std::strstr(info.dli_fname, "libdnnl") != nullptr;
    if (!library) ++allocations;
  }
  return std::malloc(n);
}
}  // namespace

// Not inlined, so that the compiler does not take malloc and operator delete for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t n) {
  return counted(n, __builtin_return_address(0));
}
[[gnu::noinline]] void* operator new[](std::size_t n) {
  return counted(n, __builtin_return_address(0));
}
[[gnu::noinline]] void* operator new(std::size_t n, std::align_val_t align) {
  const auto unit = static_cast<std::size_t>(align);
  if (counting.load()) ++allocations;
  return std::aligned_alloc(unit, (n + unit - 1) / unit * unit);
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept {
  std::free(p);
}

namespace weft::trainer {
namespace {

void expect_no_allocation(Recompute recompute, Precision precision) {
  SCOPED_TRACE(std::string(to_string(recompute)) + ", " + std::string(to_string(precision)));
  const ModelConfig config = small_config();
  Alone alone;
  StageModel model(config, whole(config), *alone.group, alone.context, 64, recompute, {},
                   precision);
  model.initialize(5);
  std::vector<MicroBatch> batches;
  for (std::uint64_t i = 0; i < 4; ++i) {
    batches.push_back(
        random_batch(config, {10, 7, 20}, i, i % 2 ? LossKind::Grpo : LossKind::CrossEntropy));
  }
  const auto step = [&] {
    model.set_micro_batches(batches);
    forward(model, 0);  // two in flight
    for (int slot = 1; slot < 4; ++slot) {
      forward(model, slot);
      backward_input(model, slot - 1);
      backward_weights(model, slot - 1);
      model.release(slot - 1);
    }
    backward_input(model, 3);
    backward_weights(model, 3);
    model.release(3);
    model.parameters().touch();
    model.parameters().zero_gradients();
  };
  // Layouts of the exchange change places from step to step until each has seen the largest load.
  for (int warm = 0; warm < 6; ++warm) step();
  allocations = 0;
  counting = true;
  for (int steady = 0; steady < 3; ++steady) step();
  counting = false;
  EXPECT_EQ(allocations.load(), 0);
}

TEST(StageModel, ASteadyStepAllocatesNothing) {
  for (const Precision p : {Precision::F32, Precision::BF16}) {
    if (!check_precision(p)) continue;  // a processor without BF16 products
    for (const Recompute r : {Recompute::None, Recompute::MlaUp, Recompute::Full}) {
      expect_no_allocation(r, p);
    }
  }
}

TEST(StageModel, ASteadyStepInFp8AllocatesNothing) {
  for (const Recompute r : {Recompute::None, Recompute::Full})
    expect_no_allocation(r, Precision::FP8);
}

}  // namespace
}  // namespace weft::trainer
