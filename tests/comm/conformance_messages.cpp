// Messages between two ranks.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <thread>

#include "base/rng.h"
#include "tests/comm/conformance.h"

namespace weft::comm {
namespace {

TEST_P(Conformance, EveryPairExchangesMessagesOfEverySize) {
  run([](Communicator& group) {
    for (const std::size_t size : kSizes) {
      for (int step = 0; step < group.size(); ++step) {
        const int to = (group.rank() + step) % group.size();
        const int from = (group.rank() + group.size() - step) % group.size();
        const auto out = pattern(group.rank(), to, size);
        std::vector<std::byte> in(size + 7);
        const Request receive = group.start_receive(from, 5, in);
        const Request send = group.start_send(to, 5, out);
        value_of(group.wait(send));
        ASSERT_EQ(value_of(group.wait(receive)), size);
        in.resize(size);
        ASSERT_EQ(in, pattern(from, group.rank(), size));
      }
    }
  });
}

TEST_P(Conformance, WaitsMayComeInAnyOrder) {
  run([](Communicator& group) {
    Rng rng(7, "order", static_cast<std::uint64_t>(group.rank()));
    constexpr int kMessages = 40;
    const auto size_of = [](int from, int to, int i) {
      return static_cast<std::size_t>(Rng(3, "size", from, to, i).below(i % 8 == 0 ? 300000 : 900));
    };
    std::vector<std::vector<std::byte>> buffers;
    buffers.reserve(static_cast<std::size_t>(2 * kMessages * group.size()));
    struct Started {
      Request request;
      int from, i;  // from -1: a send
      std::size_t buffer;
    };
    std::vector<Started> started;
    for (int i = 0; i < kMessages; ++i) {
      for (int peer = 0; peer < group.size(); ++peer) {
        const auto tag = static_cast<Tag>(i);
        buffers.push_back(pattern(group.rank(), peer, size_of(group.rank(), peer, i), tag));
        started.push_back({group.start_send(peer, tag, buffers.back()), -1, i, buffers.size() - 1});
        buffers.emplace_back(size_of(peer, group.rank(), i));
        started.push_back(
            {group.start_receive(peer, tag, buffers.back()), peer, i, buffers.size() - 1});
      }
    }
    while (!started.empty()) {
      const std::size_t pick = rng.below(static_cast<std::uint32_t>(started.size()));
      const Started one = started[pick];
      started.erase(started.begin() + static_cast<std::ptrdiff_t>(pick));
      const std::size_t length = value_of(group.wait(one.request));
      ASSERT_EQ(length, buffers[one.buffer].size());
      if (one.from >= 0) {
        ASSERT_EQ(buffers[one.buffer],
                  pattern(one.from, group.rank(), length, static_cast<std::uint64_t>(one.i)));
      }
    }
  });
}

TEST_P(Conformance, ABlockingSendToItselfIsKeptUntilReceived) {
  run([](Communicator& group) {
    for (int round = 0; round < 3; ++round) {
      auto a = pattern(1, 2, 100), b = pattern(3, 4, 200);
      check(send(group, group.rank(), 1, a));
      check(send(group, group.rank(), 2, b));
      std::vector<std::byte> x(100), y(300);
      const auto sent = a;
      std::fill(a.begin(), a.end(), std::byte{});  // the wait has returned: ours again
      EXPECT_EQ(value_of(receive(group, group.rank(), 1, x)), 100u);
      EXPECT_EQ(value_of(receive(group, group.rank(), 2, y)), 200u);
      EXPECT_EQ(x, sent);
      EXPECT_EQ(std::memcmp(y.data(), b.data(), 200), 0);
    }
  });
}

TEST_P(Conformance, AReceiveFromItselfOfNothingFailsAtOnce) {
  run([](Communicator& group) {
    std::byte byte{};
    const auto result = receive(group, group.rank(), 1, {&byte, 1});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::DeadlineExceeded);
  });
}

TEST_P(Conformance, TestTurnsTrueWithoutAWait) {
  run([](Communicator& group) {
    const int to = (group.rank() + 1) % group.size();
    const int from = (group.rank() + group.size() - 1) % group.size();
    int out = group.rank(), in = -1;
    const Request receive = group.start_receive(from, 9, std::as_writable_bytes(std::span(&in, 1)));
    const Request send = group.start_send(to, 9, std::as_bytes(std::span(&out, 1)));
    while (!group.test(receive) || !group.test(send)) std::this_thread::yield();
    value_of(group.wait(send));
    value_of(group.wait(receive));
    EXPECT_EQ(in, from);
  });
}

TEST_P(Conformance, MessageMemoryIsAlignedApartAndMayOutliveItsGroup) {
  std::mutex mutex;
  std::vector<MessageMemory> kept;
  run([&](Communicator& group) {
    const MessageMemory a = group.message_memory(1), b = group.message_memory(100000);
    for (const auto& memory : {a, b})
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.get()) % 64, 0u);
    EXPECT_TRUE(b.get() + 100000 <= a.get() || a.get() + 1 <= b.get());
    std::fill_n(b.get(), 100000, std::byte{3});
    const std::lock_guard lock(mutex);
    kept.push_back(b);
  });
  for (const auto& memory : kept) EXPECT_EQ(memory.get()[99999], std::byte{3});
}

TEST_P(Conformance, AWrongTagNamesBothRanksBothTagsAndTheAction) {
  run([](Communicator& group) {
    const int to = group.rank() ^ 1;
    if (to >= group.size() && group.size() > 1) return;
    const int peer = group.size() == 1 ? 0 : to;
    group.set_serving("F mb 3 dir 0 stage 1");
    std::byte byte{};
    const Request sent = group.start_send(peer, 0x12, {&byte, 1});
    const Request request = group.start_receive(peer, 0x34, {&byte, 1});
    const auto result = group.wait(request);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::Corrupt);
    for (const std::string& part :
         {std::string("group 'all'"), "rank " + std::to_string(group.rank()),
          "from rank " + std::to_string(peer), std::string("0x12"), std::string("0x34"),
          std::string("F mb 3 dir 0 stage 1")})
      EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
    (void)group.wait(sent);
    // The group is over: nothing waits for the bound.
    const auto later = receive(group, peer, 0x12, {&byte, 1});
    ASSERT_FALSE(later);
    EXPECT_EQ(later.error().message, result.error().message);
  });
}

TEST_P(Conformance, AMessageLongerThanItsBufferIsCorrupt) {
  run([](Communicator& group) {
    const int to = (group.rank() + 1) % group.size();
    const int from = (group.rank() + group.size() - 1) % group.size();
    const auto out = pattern(0, 0, 100);
    std::vector<std::byte> in(99, std::byte{7});
    const Request sent = group.start_send(to, 1, out);
    const auto result = group.wait(group.start_receive(from, 1, in));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::Corrupt);
    EXPECT_EQ(in, std::vector<std::byte>(99, std::byte{7}));
    for (const std::string& part :
         {"rank " + std::to_string(group.rank()), "from rank " + std::to_string(from),
          std::string("has 100 bytes"), std::string("only 99")})
      EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
    (void)group.wait(sent);
  });
}

}  // namespace
}  // namespace weft::comm
