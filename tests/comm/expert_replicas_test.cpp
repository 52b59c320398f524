// Experts with replicas: whichever seat computes, a token's sum has the bits that it has without.
#include <numeric>

#include "comm/exchange/expert_placement.h"
#include "tests/comm/exchange_cases.h"
#include "tests/comm/ranks.h"

namespace weft::comm {
namespace {

constexpr ExchangeCase kCase{8, 3, 5, 12};

/// Experts 0, 1 and 4 are hot: every rank has `extra` more seats, filled where they are not yet.
ExpertPlacement hot_placement(int ranks, int extra) {
  ExpertPlacement p = ExpertPlacement::at_home(kCase.num_experts, ranks, extra);
  for (int r = 0; r < ranks; ++r) {
    int seat = r * p.seats_per_rank + p.home_seats();
    for (const int hot : {0, 4, 1})
      if (p.home_rank(hot) != r && seat < (r + 1) * p.seats_per_rank) {
        if ((r + hot) % 3 == 2) continue;  // not everywhere
        p.expert_of[static_cast<std::size_t>(seat++)] = hot;
      }
  }
  std::vector<int> copies(static_cast<std::size_t>(p.num_experts), 0);
  for (const int e : p.expert_of)
    if (e >= 0) ++copies[static_cast<std::size_t>(e)];
  for (std::size_t seat = 0; seat < p.expert_of.size(); ++seat)
    if (const int e = p.expert_of[seat]; e >= 0)
      p.share_of[seat] = 1.0 / copies[static_cast<std::size_t>(e)];
  return p;
}

/// A stand-in for an expert: the row times a number of its own, then times the gate weight.
float computed(float value, int expert, float gate) {
  return value * (0.3f + 0.1f * static_cast<float>(expert)) * gate;
}

std::vector<float> combined(Communicator& group, const NodeMap& nodes, int extra, Routing routing) {
  ExchangeOptions options;
  options.nodes = nodes;
  ExpertExchange<float> exchange(group, kCase.num_experts, kCase.top_k, kCase.hidden,
                                 kCase.max_tokens, options);
  const ExpertPlacement placement = hot_placement(group.size(), std::max(extra, 0));
  check(check_placement(placement));
  ReplicaPicker picker(placement, group.rank(), nodes);
  if (extra >= 0) exchange.open_replicas(extra);
  ExpertLayout layout;
  std::vector<float> all;
  for (int round = 0; round < 6; ++round) {
    const auto batch = draw_batch<float>(kCase, routing, group.rank(), round);
    check(exchange.begin_dispatch(layout, 1, batch.num_tokens, batch.rows.data(),
                                  batch.experts.data(), batch.weights.data(),
                                  extra >= 0 ? &picker : nullptr));
    const float* rows = value_of(exchange.end_dispatch(layout));
    const int out_rows = extra >= 0 ? layout.num_slots : layout.num_rows;
    std::vector<float> parts(static_cast<std::size_t>(out_rows * kCase.hidden), 0.0f);
    const int first = group.rank() * placement.seats_per_rank;
    for (std::size_t local = 0; local + 1 < layout.expert_begin.size(); ++local)
      for (int slot = layout.expert_begin[local]; slot < layout.expert_begin[local + 1]; ++slot) {
        const auto s = static_cast<std::size_t>(slot);
        const int expert = placement.expert_of[static_cast<std::size_t>(first) + local];
        const int to = extra >= 0 ? slot : layout.slot_row[s];
        for (int i = 0; i < kCase.hidden; ++i)
          parts[static_cast<std::size_t>(to * kCase.hidden + i)] +=
              computed(rows[layout.slot_row[s] * kCase.hidden + i], expert, layout.slot_weight[s]);
      }
    std::vector<float> out(batch.rows.size(), 0.1f);
    check(exchange.begin_combine(layout, 2, parts.data()));
    check(exchange.end_combine(layout, out.data()));
    all.insert(all.end(), out.begin(), out.end());
  }
  return all;
}

TEST(ExpertReplicas, GiveTheBitsOfTheExchangeWithoutThem) {
  for (const int ranks : {1, 2, 4})
    for (const Routing routing : kRoutings)
      run_ranks(Mode::threads, ranks, [&](Communicator& group) {
        const auto plain = combined(group, {}, -1, routing);
        for (const int extra : {0, 1, 2})
          EXPECT_EQ(combined(group, {}, extra, routing), plain) << extra << " seats more";
      });
}

TEST(ExpertReplicas, AddInTheOrderOfTheNodeMapToo) {
  run_ranks(Mode::threads, 4, [&](Communicator& group) {
    const NodeMap nodes = NodeMap::blocks(2, 2);
    const auto plain = combined(group, nodes, -1, Routing::random);
    EXPECT_EQ(combined(group, nodes, 2, Routing::random), plain);
  });
}

TEST(ReplicaPicker, GivesEveryReplicaItsShareOverAllRanksAndTakesTheOwnFirst) {
  ExpertPlacement p = ExpertPlacement::at_home(8, 4, 1);
  p.expert_of[1 * 3 + 2] = 0;  // expert 0: at home on rank 0, and on ranks 1 and 3
  p.expert_of[3 * 3 + 2] = 0;
  p.share_of[0] = 0.2;
  p.share_of[1 * 3 + 2] = 0.3;
  p.share_of[3 * 3 + 2] = 0.5;
  check(check_placement(p));
  constexpr int kTokens = 1000;
  std::vector<int> got(static_cast<std::size_t>(p.num_seats()), 0);
  for (int rank = 0; rank < 4; ++rank) {
    ReplicaPicker picker(p, rank, {});
    for (int t = 0; t < kTokens; ++t) ++got[static_cast<std::size_t>(picker.next(0))];
    EXPECT_EQ(picker.next(5), 7);  // a single copy: its home
    if (rank == 1 || rank == 3) {  // a quarter of all tokens is less than their share
      EXPECT_NEAR(picker.part(rank * 3 + 2), 1, 1e-9);
    }
  }
  EXPECT_NEAR(got[0], 0.2 * 4 * kTokens, 8);
  EXPECT_NEAR(got[1 * 3 + 2], 0.3 * 4 * kTokens, 8);
  EXPECT_NEAR(got[3 * 3 + 2], 0.5 * 4 * kTokens, 8);
}

TEST(ReplicaPicker, PrefersItsNode) {
  ExpertPlacement p = ExpertPlacement::at_home(4, 4, 1);
  p.expert_of[2 * 2 + 1] = 0;  // expert 0 on ranks 0 and 2, a node each
  p.share_of[0] = p.share_of[2 * 2 + 1] = 0.5;
  const NodeMap nodes = NodeMap::blocks(2, 2);
  for (int rank = 0; rank < 4; ++rank) {
    ReplicaPicker picker(p, rank, nodes);
    for (int t = 0; t < 10; ++t) EXPECT_EQ(picker.next(0), rank < 2 ? 0 : 2 * 2 + 1);
  }
}

TEST(ExpertPlacement, RefusesWhatIsNone) {
  const ExpertPlacement good = ExpertPlacement::at_home(8, 4, 1);
  EXPECT_TRUE(check_placement(good));
  const auto broken = [&](auto change) {
    ExpertPlacement p = good;
    change(p);
    const auto result = check_placement(p);
    return result ? std::string() : result.error().message;
  };
  EXPECT_NE(broken([](auto& p) { p.expert_of[0] = 1; }).find("home"), std::string::npos);
  EXPECT_NE(broken([](auto& p) { p.expert_of[2] = 8; }).find("expert 8 of 8"), std::string::npos);
  EXPECT_NE(broken([](auto& p) { p.expert_of[2] = 0; }).find("second time"), std::string::npos);
  EXPECT_NE(broken([](auto& p) { p.share_of[0] = 0.5; }).find("add up"), std::string::npos);
  EXPECT_NE(broken([](auto& p) { p.share_of[0] = -1; }).find("share"), std::string::npos);
  EXPECT_NE(broken([](auto& p) { p.num_ranks = 3; }).find("divide"), std::string::npos);
  EXPECT_NE(broken([](auto& p) { p.expert_of.pop_back(); }).find("seat"), std::string::npos);
}

}  // namespace
}  // namespace weft::comm
