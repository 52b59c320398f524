// What all ranks of a group do together.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/rng.h"
#include "tests/comm/conformance.h"

namespace weft::comm {
namespace {

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

}  // namespace
}  // namespace weft::comm
