// Several groups of one transport.
#include <algorithm>
#include <functional>
#include <numeric>

#include "tests/comm/conformance.h"

namespace weft::comm {
namespace {

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

}  // namespace
}  // namespace weft::comm
