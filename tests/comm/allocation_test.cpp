// The paths that every micro-batch takes do not allocate once their buffers have grown.
#include <cstdlib>
#include <new>

#include "comm/exchange/expert_exchange.h"
#include "tests/comm/ranks.h"

namespace {
thread_local long num_allocations = 0;
}

[[gnu::noinline]] void* operator new(std::size_t size) {
  ++num_allocations;
  if (void* const memory = std::malloc(size == 0 ? 1 : size)) return memory;
  std::abort();
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t align) {
  ++num_allocations;
  const auto unit = static_cast<std::size_t>(align);
  if (void* const memory = std::aligned_alloc(unit, (size + unit - 1) / unit * unit)) return memory;
  std::abort();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace weft::comm {
namespace {

/// Runs `step` some times, then counts what further ones allocate.
template <class Step>
long allocations_of(Step step) {
  for (int i = 0; i < 4; ++i) step();
  const long before = num_allocations;
  for (int i = 0; i < 20; ++i) step();
  return num_allocations - before;
}

void expect_no_allocation(Communicator& group) {
  const auto n = static_cast<std::size_t>(group.size());
  std::vector<float> values(70000, 1.0f), small(100, 1.0f), out(values.size());
  const auto bytes = [](std::vector<float>& v) { return std::as_writable_bytes(std::span(v)); };
  const std::vector<std::size_t> lengths(n, values.size() * sizeof(float) / n);
  EXPECT_EQ(0, allocations_of([&] {
              const int to = (group.rank() + 1) % group.size();
              const int from = (group.rank() + group.size() - 1) % group.size();
              const Request receive = group.start_receive(from, 3, bytes(out));
              const Request send = group.start_send(to, 3, bytes(values));
              value_of(group.wait(receive));
              value_of(group.wait(send));
            }));
  EXPECT_EQ(0, allocations_of([&] { check(all_reduce_sum(group, std::span<float>(values))); }));
  EXPECT_EQ(0, allocations_of([&] { check(all_reduce_sum(group, std::span<float>(small))); }));
  EXPECT_EQ(0, allocations_of([&] { check(reduce_sum(group, 0, values)); }));
  EXPECT_EQ(0, allocations_of([&] { check(broadcast(group, 0, bytes(values))); }));
  EXPECT_EQ(0, allocations_of([&] { check(barrier(group)); }));
  EXPECT_EQ(0, allocations_of([&] {
              check(all_to_all_v(group, bytes(values), lengths, bytes(out), lengths));
            }));
}

void expect_no_allocation_in_exchanges(Communicator& group, const ExchangeOptions& options) {
  constexpr int kTokens = 50, kHidden = 16, kTopK = 2;
  ExpertExchange<float> exchange(group, 4, kTopK, kHidden, kTokens, options);
  ExpertLayout layout;
  std::vector<float> rows(kTokens * kHidden, 1.0f), weights(kTokens * kTopK, 0.5f);
  std::vector<float> out(rows.size()), d_weights(weights.size()), slots(400, 1.0f);
  std::vector<std::int32_t> experts;
  for (int t = 0; t < kTokens; ++t)
    for (int k = 0; k < kTopK; ++k) experts.push_back((t * 3 + k) % 4);
  EXPECT_EQ(0, allocations_of([&] {
              check(exchange.begin_dispatch(layout, 1, kTokens, rows.data(), experts.data(),
                                            weights.data()));
              const float* arrived = value_of(exchange.end_dispatch(layout));
              check(exchange.begin_combine(layout, 2, arrived));
              check(exchange.end_combine(layout, out.data()));
              check(exchange.begin_combine_backward(layout, 3, rows.data()));
              const float* back = value_of(exchange.end_combine_backward(layout));
              check(exchange.begin_dispatch_backward(layout, 4, back, slots.data()));
              check(exchange.end_dispatch_backward(layout, out.data(), d_weights.data()));
            }));
}

TEST(SteadyState, MessagesAndCollectivesDoNotAllocate) {
  run_ranks(Mode::self, 1, expect_no_allocation);
  run_ranks(Mode::threads, 3, expect_no_allocation);
  run_ranks(Mode::tcp, 3, expect_no_allocation);
}

TEST(SteadyState, ExpertExchangesDoNotAllocate) {
  const auto run = [](Mode mode, int n, const ExchangeOptions& options) {
    run_ranks(mode, n,
              [&](Communicator& group) { expect_no_allocation_in_exchanges(group, options); });
  };
  run(Mode::self, 1, {});
  run(Mode::threads, 2, {});
  run(Mode::threads, 2, {NodeMap::blocks(2, 1), Hops::two, Payload::full});
  run(Mode::threads, 4, {NodeMap::blocks(2, 2), Hops::two, Payload::fp8});
}

}  // namespace
}  // namespace weft::comm
