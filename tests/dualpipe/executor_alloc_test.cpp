// Its own binary, because it counts every allocation of the process.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "dualpipe/executor.h"
#include "recording.h"

namespace {
thread_local bool counting = false;
thread_local int allocations = 0;
}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  if (counting) ++allocations;
  return std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (void* memory = operator new(size, std::nothrow)) return memory;
  throw std::bad_alloc();
}
void* operator new[](std::size_t size) { return operator new(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return operator new(size, std::nothrow);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }
void operator delete[](void* memory) noexcept { operator delete(memory); }
void operator delete[](void* memory, std::size_t) noexcept { operator delete(memory); }

namespace weft::dualpipe {
namespace {

/// Does nothing, and allocates nothing.
class IdleStage final : public Stage {
 public:
  std::span<const Phase> phases(Pass pass) const override {
    static constexpr Phase kForward[] = {{PhaseKind::Attention, 0, Part::Whole},
                                         {PhaseKind::Dispatch, 0, Part::Whole},
                                         {PhaseKind::Experts, 0, Part::Whole}};
    static constexpr Phase kBackward[] = {{PhaseKind::Experts, 0, Part::Input},
                                          {PhaseKind::Experts, 0, Part::Weights},
                                          {PhaseKind::Dispatch, 0, Part::Input},
                                          {PhaseKind::Attention, 0, Part::Input},
                                          {PhaseKind::Attention, 0, Part::Weights}};
    return pass == Pass::Forward ? std::span<const Phase>(kForward) : kBackward;
  }
  Expected<void> begin(Pass, const Phase&, const Chunk&) override { return {}; }
  Expected<void> finish(Pass, const Phase&, const Chunk&) override { return {}; }
  std::span<std::byte> incoming(Pass, const Chunk&) override { return buffer_; }
  std::span<const std::byte> outgoing(Pass, const Chunk&) override { return buffer_; }

 private:
  std::byte buffer_[64] = {};
};

/// Every message is there at once.
class InstantCommunicator final : public comm::Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 4; }
  std::string_view name() const override { return "instant"; }
  comm::Request start_send(int, comm::Tag, comm::ConstBytes) override { return {0}; }
  comm::Request start_receive(int, comm::Tag, comm::Bytes) override { return {0}; }
  Expected<std::size_t> wait(comm::Request) override { return 64; }
  bool test(comm::Request) override { return false; }
};

TEST(Executor, AllocatesNothingFromTheSecondStepOn) {
  const Schedule schedule = add_messages(*generate(Kind::DualPipe, {4, 12, 2}));
  const Schedule forward = add_messages(*generate_forward(Kind::DualPipe, {4, 8, 2}));
  IdleStage near, far;
  InstantCommunicator group;
  Executor executor({nullptr, &near, &far, nullptr}, nullptr, group, {});
  MemoryRing ring({.steps = 1, .records = 4000});
  executor.set_recorder(&ring.recorder());
  for (int step = 0; step < 3; ++step) {
    counting = step > 0;
    ring.recorder().begin_step(step, "pretrain");
    const bool trained = executor.run(schedule.programs[1]).has_value();
    const bool evaluated = executor.run(forward.programs[1]).has_value();
    ring.recorder().end_step();
    counting = false;
    ASSERT_TRUE(trained && evaluated);
  }
  EXPECT_EQ(allocations, 0);
  const auto read = ring.read();
  ASSERT_TRUE(read);
  EXPECT_GT(read->steps.back().records.size(), forward.programs[1].size());
}

}  // namespace
}  // namespace weft::dualpipe
