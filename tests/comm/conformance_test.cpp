// What every transport promises; run by each of them at several sizes of world and message.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <numeric>

#include "base/rng.h"
#include "tests/comm/mpirun.h"
#include "tests/comm/ranks.h"

namespace weft::comm {
namespace {

constexpr std::size_t kSizes[] = {0, 1, 13, 4097, (std::size_t{1} << 20) + 70003};

struct Case {
  Mode mode;
  int ranks;
};

class Conformance : public testing::TestWithParam<Case> {
 protected:
  void run(const RankBody& body) { run_ranks(GetParam().mode, GetParam().ranks, body); }
};

/// Bytes that depend on who sends what to whom.
std::vector<std::byte> pattern(int from, int to, std::size_t size, std::uint64_t salt = 0) {
  std::vector<std::byte> bytes(size);
  std::uint64_t x = static_cast<std::uint64_t>(from * 1000 + to) * 0x9e3779b97f4a7c15u + salt;
  for (std::byte& b : bytes) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    b = static_cast<std::byte>(x >> 56);
  }
  return bytes;
}

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

TEST_P(Conformance, BarrierLetsNobodyThroughEarly) {
  const SharedCounters counters;
  std::atomic<int>* const arrived = counters.at(0);
  run([&](Communicator& group) {
    for (int round = 1; round <= 20; ++round) {
      arrived->fetch_add(1);
      check(barrier(group));
      ASSERT_GE(arrived->load(), round * group.size());
      check(barrier(group));
    }
  });
}

TEST_P(Conformance, BroadcastGivesEveryRankTheRootsBytes) {
  run([](Communicator& group) {
    for (int root = 0; root < group.size(); ++root) {
      for (const std::size_t size : kSizes) {
        const auto expected = pattern(root, 99, size);
        auto data = group.rank() == root ? expected : std::vector<std::byte>(size);
        check(broadcast(group, root, data));
        ASSERT_EQ(data, expected);
      }
    }
  });
}

TEST_P(Conformance, AllGatherOrdersPartsByRank) {
  run([](Communicator& group) {
    for (const std::size_t size : kSizes) {
      const auto n = static_cast<std::size_t>(group.size());
      std::vector<std::byte> out(n * size), expected;
      for (int r = 0; r < group.size(); ++r) {
        const auto part = pattern(r, 0, size);
        expected.insert(expected.end(), part.begin(), part.end());
      }
      const auto own = std::span(out).subspan(static_cast<std::size_t>(group.rank()) * size, size);
      const auto mine = pattern(group.rank(), 0, size);
      if (size > 0) std::memcpy(own.data(), mine.data(), size);
      check(all_gather(group, own, out));  // in place
      ASSERT_EQ(out, expected);
    }
  });
}

TEST_P(Conformance, AllGatherTextKeepsEveryLength) {
  run([](Communicator& group) {
    const auto text_of = [](int rank) {
      return std::string(static_cast<std::size_t>(rank * rank * 40000), 'a' + char(rank));
    };
    const auto texts = value_of(all_gather_text(group, text_of(group.rank())));
    ASSERT_EQ(texts.size(), static_cast<std::size_t>(group.size()));
    for (int r = 0; r < group.size(); ++r)
      EXPECT_EQ(texts[static_cast<std::size_t>(r)], text_of(r));
  });
}

/// Values for which another order of additions gives other bits.
template <class Real>
std::vector<Real> values_of(int rank, std::size_t count) {
  std::vector<Real> values(count);
  std::uint64_t x = static_cast<std::uint64_t>(rank) + 17;
  for (Real& v : values) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    const double unit = static_cast<double>(x >> 11) * 0x1p-53 - 0.5;
    v = static_cast<Real>(unit * ((x & 16) != 0 ? 1e6 : 1.0));
  }
  return values;
}

template <class Real>
std::vector<Real> ascending_sum(int ranks, std::size_t count) {
  auto sum = values_of<Real>(0, count);
  for (int r = 1; r < ranks; ++r) {
    const auto next = values_of<Real>(r, count);
    for (std::size_t i = 0; i < count; ++i) sum[i] += next[i];
  }
  return sum;
}

template <class Real>
void expect_same_bits(const std::vector<Real>& a, const std::vector<Real>& b) {
  ASSERT_EQ(a.size(), b.size());
  const auto left = std::as_bytes(std::span(a)), right = std::as_bytes(std::span(b));
  ASSERT_TRUE(std::equal(left.begin(), left.end(), right.begin()));
}

// Both sides of the switch to reduce-scatter (8 KiB) and of a block (4 MiB).
constexpr std::size_t kCounts[] = {0, 1, 5, 1023, 2048, 2049, 5003, (std::size_t{1} << 20) + 3};

TEST_P(Conformance, AllReduceAddsInAscendingRankOrderToTheLastBit) {
  run([](Communicator& group) {
    for (const std::size_t count : kCounts) {
      auto floats = values_of<float>(group.rank(), count);
      check(all_reduce_sum(group, floats));
      expect_same_bits(floats, ascending_sum<float>(group.size(), count));
      auto doubles = values_of<double>(group.rank(), count / 2);
      check(all_reduce_sum(group, doubles));
      expect_same_bits(doubles, ascending_sum<double>(group.size(), count / 2));
    }
  });
}

TEST_P(Conformance, ReduceLeavesTheSumAtTheRootAlone) {
  run([](Communicator& group) {
    for (const std::size_t count : kCounts) {
      const int root = static_cast<int>(count) % group.size();
      auto values = values_of<float>(group.rank(), count);
      check(reduce_sum(group, root, values));
      expect_same_bits(values, group.rank() == root ? ascending_sum<float>(group.size(), count)
                                                    : values_of<float>(group.rank(), count));
    }
  });
}

template <class Real>
void expect_scattered_sum(Communicator& group, std::size_t part) {
  const auto n = static_cast<std::size_t>(group.size()),
             own = static_cast<std::size_t>(group.rank());
  const auto sum = ascending_sum<Real>(group.size(), n * part);
  const std::vector<Real> expected(sum.begin() + static_cast<std::ptrdiff_t>(own * part),
                                   sum.begin() + static_cast<std::ptrdiff_t>((own + 1) * part));
  auto in = values_of<Real>(group.rank(), n * part);
  std::vector<Real> out(part);
  check(reduce_scatter_sum(group, std::span<const Real>(in), std::span<Real>(out)));
  expect_same_bits(out, expected);
  expect_same_bits(in, values_of<Real>(group.rank(), n * part));
  const auto place = std::span(in).subspan(own * part, part);
  check(reduce_scatter_sum(group, std::span<const Real>(in), place));
  expect_same_bits(std::vector<Real>(place.begin(), place.end()), expected);
}

TEST_P(Conformance, ReduceScatterGivesEveryRankItsPartOfTheAscendingSum) {
  run([](Communicator& group) {
    for (const std::size_t part : {0, 1, 5, 1023, 200'003}) {
      expect_scattered_sum<float>(group, part);
      expect_scattered_sum<double>(group, part);
    }
  });
}

TEST_P(Conformance, AllToAllMovesRandomTables) {
  run([](Communicator& group) {
    const auto n = static_cast<std::size_t>(group.size());
    for (std::uint64_t round = 0; round < 6; ++round) {
      const auto length = [&](std::size_t from, std::size_t to) {
        Rng rng(11, "table", round, from, to);
        return std::size_t{rng.below(3) == 0 ? 0 : rng.below(round == 5 ? 1500000 : 5000)};
      };
      const auto own = static_cast<std::size_t>(group.rank());
      std::vector<std::size_t> in_lengths(n), out_lengths(n);
      std::vector<std::byte> in, expected;
      for (std::size_t r = 0; r < n; ++r) {
        in_lengths[r] = length(own, r);
        out_lengths[r] = length(r, own);
        const auto give = pattern(group.rank(), static_cast<int>(r), in_lengths[r]);
        const auto get = pattern(static_cast<int>(r), group.rank(), out_lengths[r]);
        in.insert(in.end(), give.begin(), give.end());
        expected.insert(expected.end(), get.begin(), get.end());
      }
      std::vector<std::byte> out(expected.size());
      check(all_to_all_v(group, in, in_lengths, out, out_lengths));
      ASSERT_EQ(out, expected);

      const MessageMemory memory = group.message_memory(in.size());
      std::copy(in.begin(), in.end(), memory.get());
      std::fill(out.begin(), out.end(), std::byte{});
      check(all_to_all_v(group, {memory.get(), in.size()}, in_lengths, out, out_lengths));
      ASSERT_EQ(out, expected);
    }
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

TEST_P(Conformance, CallersMessagesAndCollectivesDoNotMix) {
  run([](Communicator& group) {
    if (group.size() == 1) return;
    group.set_serving("F mb 3 dir 0 stage 1");
    if (group.rank() == 0) {
      int value = 1;
      check(send(group, 1, 0, std::as_bytes(std::span(&value, 1))));
    } else if (group.rank() == 1) {
      std::int32_t value = 0;
      const auto result = broadcast(group, 0, std::as_writable_bytes(std::span(&value, 1)));
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().code, Code::Corrupt);
      EXPECT_NE(result.error().message.find("broadcast #0"), std::string::npos)
          << result.error().message;
    }
  });
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

TEST_P(Conformance, ACollectiveWithPartsOfTwoLengthsNamesBothLengthsAndBothRanks) {
  run([](Communicator& group) {
    if (group.size() == 1) return;
    const std::size_t part = group.rank() == 0 ? 4 : 8;
    const std::vector<std::byte> mine(part);
    std::vector<std::byte> all(part * static_cast<std::size_t>(group.size()));
    const auto result = all_gather(group, mine, all);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::Corrupt);
    for (const std::string& text :
         {"rank " + std::to_string(group.rank()),
          std::string(group.rank() == 0 ? "from rank " : "from rank 0"),
          std::string("all_gather #0"), std::string(group.rank() == 0 ? "has 8 bytes" : "got 4"),
          std::string(group.rank() == 0 ? "only 4" : "expected 8")})
      EXPECT_NE(result.error().message.find(text), std::string::npos) << result.error().message;
  });
}

/// Groups that share ranks in every way: all, all backwards, neighbours, and every third.
std::vector<GroupSpec> overlapping_groups(int n) {
  std::vector<GroupSpec> specs(2);
  specs[0].name = "all";
  specs[1].name = "backwards";
  for (int r = 0; r < n; ++r) {
    specs[0].ranks.push_back(r);
    specs[1].ranks.push_back(n - 1 - r);
    if (r + 1 < n) specs.push_back({"next" + std::to_string(r), {r + 1, r}});
  }
  for (int first = 0; first < std::min(3, n); ++first) {
    GroupSpec& spec = specs.emplace_back(GroupSpec{"third" + std::to_string(first), {}});
    for (int r = first; r < n; r += 3) spec.ranks.push_back(r);
  }
  return specs;
}

TEST_P(Conformance, GroupsOverlapAsTheyLikeAndDoNotMix) {
  run_transports(GetParam().mode, GetParam().ranks, [](Transport& transport) {
    const auto specs = overlapping_groups(transport.world_size());
    const auto groups = value_of(transport.make_groups(specs));
    ASSERT_EQ(groups.size(), specs.size());
    for (int round = 0; round < 2; ++round) {
      for (std::size_t i = 0; i < specs.size(); ++i) {
        const auto& ranks = specs[i].ranks;
        const auto self = std::find(ranks.begin(), ranks.end(), transport.world_rank());
        ASSERT_EQ(groups[i] != nullptr, self != ranks.end());
        if (!groups[i]) continue;
        ASSERT_EQ(groups[i]->rank(), self - ranks.begin());
        ASSERT_EQ(groups[i]->name(), specs[i].name);
        groups[i]->set_wait_bound(std::chrono::seconds(60));
        const auto texts = value_of(
            all_gather_text(*groups[i], specs[i].name + std::to_string(transport.world_rank())));
        ASSERT_EQ(texts.size(), ranks.size());
        for (std::size_t r = 0; r < ranks.size(); ++r)
          EXPECT_EQ(texts[r], specs[i].name + std::to_string(ranks[r]));
        double sum = transport.world_rank();
        check(all_reduce_sum(*groups[i], std::span(&sum, 1)));
        EXPECT_EQ(sum, std::accumulate(ranks.begin(), ranks.end(), 0.0));
      }
    }
  });
}

TEST_P(Conformance, GroupsThatCannotBeAreRefused) {
  run_transports(GetParam().mode, GetParam().ranks, [](Transport& transport) {
    for (const auto& ranks : std::vector<std::vector<int>>{{}, {0, 0}, {0, 1000}, {-1}}) {
      const GroupSpec spec{"wrong", ranks};
      const auto result = transport.make_groups(std::span(&spec, 1));
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().code, Code::InvalidArgument);
      EXPECT_NE(result.error().message.find("wrong"), std::string::npos);
    }
  });
}

/// Ranks 0 and 1 with two groups of the same ranks; the others have nothing to do.
void run_two_groups(const Case& tested,
                    const std::function<void(Communicator& big, Communicator& small)>& body) {
  if (tested.ranks < 2) return;
  run_transports(tested.mode, tested.ranks, [&body](Transport& transport) {
    const std::vector<GroupSpec> specs{{"big", {0, 1}}, {"small", {1, 0}}};
    const auto groups = value_of(transport.make_groups(specs));
    if (transport.world_rank() > 1) return;
    for (const auto& group : groups) group->set_wait_bound(std::chrono::seconds(30));
    body(*groups[0], *groups[1]);
  });
}

constexpr std::size_t kBigBytes = std::size_t{9} << 20;  // more than any transport buffers

TEST_P(Conformance, AWaitInOneGroupKeepsTheSendsOfAnotherMoving) {
  run_two_groups(GetParam(), [](Communicator& big, Communicator& small) {
    std::vector<std::byte> data = pattern(0, 1, kBigBytes), into(kBigBytes);
    std::byte word{};
    if (big.rank() == 0) {
      const Request sent = big.start_send(1, 1, data);
      value_of(receive(small, 0, 2, {&word, 1}));  // comes once the long message has arrived
      value_of(big.wait(sent));
    } else {
      value_of(receive(big, 0, 1, into));
      EXPECT_EQ(into, data);
      check(send(small, 1, 2, {&word, 1}));
    }
  });
}

TEST_P(Conformance, AWaitInOneGroupKeepsTheReceivesOfAnotherMoving) {
  run_two_groups(GetParam(), [](Communicator& big, Communicator& small) {
    std::vector<std::byte> data = pattern(0, 1, kBigBytes), into(kBigBytes);
    std::byte word{};
    if (big.rank() == 0) {
      check(send(big, 1, 1, data));  // ends once the other side has taken it
      check(send(small, 0, 2, {&word, 1}));
    } else {
      const Request request = big.start_receive(0, 1, into);
      value_of(receive(small, 1, 2, {&word, 1}));
      value_of(big.wait(request));
      EXPECT_EQ(into, data);
    }
  });
}

std::vector<Case> cases() {
  if (const int ranks = ranks_under_mpi()) return {{Mode::mpi, ranks}};
  std::vector<Case> all{{Mode::self, 1}};
  for (const Mode mode : {Mode::threads, Mode::processes, Mode::sim, Mode::tcp})
    for (const int ranks : {1, 2, 4, 7}) all.push_back({mode, ranks});
  for (const int ranks : {2, 7}) all.push_back({Mode::hybrid, ranks});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Transport, Conformance, testing::ValuesIn(cases()),
                         [](const auto& tested) {
                           return std::string(to_string(tested.param.mode)) +
                                  std::to_string(tested.param.ranks);
                         });

class ConformanceOverMpi : public testing::TestWithParam<int> {};

// The cases above, by this binary itself under mpirun.
TEST_P(ConformanceOverMpi, KeepsTheWholePromise) {
  if (const std::string why = why_no_mpi(); !why.empty()) GTEST_SKIP() << why;
  const std::string ranks = std::to_string(GetParam());
  const MpiRun run = run_under_mpi(GetParam(), "Transport/Conformance.*/mpi" + ranks);
  EXPECT_EQ(run.exit_code, 0) << run.output;
  EXPECT_NE(run.output.find("[  PASSED  ]"), std::string::npos) << run.output;
}

INSTANTIATE_TEST_SUITE_P(Ranks, ConformanceOverMpi, testing::Values(1, 2, 4, 7),
                         testing::PrintToStringParamName());

TEST(CommunicatorDeathTest, ATagOfTheCollectivesIsRefused) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      run_ranks(Mode::self, 1, [](Communicator& group) { (void)group.start_send(0, ~Tag{0}, {}); }),
      "collectives");
}

}  // namespace
}  // namespace weft::comm
