#include "comm/exchange/two_hop.h"

#include "tests/comm/exchange_cases.h"

namespace weft::comm {
namespace {

struct World {
  const char* name;
  std::vector<int> node_of_rank;
  int ranks() const { return static_cast<int>(node_of_rank.size()); }
};

const World kWorlds[] = {
    {"TwoByTwo", {0, 0, 1, 1}},         {"TwoByFour", {0, 0, 0, 0, 1, 1, 1, 1}},
    {"ThreeByTwo", {0, 0, 1, 1, 2, 2}}, {"OneByThree", {4, 4, 4}},
    {"ThreeByOne", {0, 1, 2}},          {"Scattered", {5, 3, 3, 5}}};

class TwoHops : public testing::TestWithParam<World> {
 protected:
  int ranks() const { return GetParam().ranks(); }
  ExchangeOptions options(Hops hops, Payload payload = Payload::full) const {
    return {value_of(NodeMap::make(GetParam().node_of_rank)), hops, payload};
  }
  ExchangeCase shape() const { return {4 * ranks(), 3, 5, 9}; }
};

template <class Real>
ExpertExchange<Real> make(Communicator& group, const ExchangeCase& shape,
                          const ExchangeOptions& options) {
  return {group, shape.num_experts, shape.top_k, shape.hidden, shape.max_tokens, options};
}

template <class Real>
void same_bits_as_one_hop(Communicator& group, const ExchangeCase& shape,
                          const ExchangeOptions& one, const ExchangeOptions& two,
                          int num_rounds = 12) {
  auto straight = make<Real>(group, shape, one);
  auto relayed = make<Real>(group, shape, two);
  ExpertLayout straight_layout, relayed_layout;
  for (int round = 0; round < num_rounds; ++round) {
    const Routing routing = kRoutings[round % 4];
    const auto batch = draw_batch<Real>(shape, routing, group.rank(), round);
    const auto expected = run_round(straight, straight_layout, shape, batch, group.rank());
    const auto got = run_round(relayed, relayed_layout, shape, batch, group.rank());
    EXPECT_EQ(got, expected) << "round " << round << ", rank " << group.rank();
  }
}

TEST_P(TwoHops, GiveTheSameBitsAsOneHop) {
  run_ranks(Mode::threads, ranks(), [&](Communicator& group) {
    same_bits_as_one_hop<float>(group, shape(), options(Hops::one), options(Hops::two));
    same_bits_as_one_hop<double>(group, shape(), options(Hops::one), options(Hops::two));
  });
}

TEST_P(TwoHops, GiveTheSameBitsAsOneHopWhenRowsAreRounded) {
  for (const Payload payload : {Payload::fp8, Payload::bf16})
    run_ranks(Mode::threads, ranks(), [&](Communicator& group) {
      ExchangeCase wide = shape();
      wide.hidden = 131;  // a tile and a short one
      same_bits_as_one_hop<float>(group, wide, options(Hops::one, payload),
                                  options(Hops::two, payload));
    });
}

/// Several exchanges of both directions between begin and end, of two objects in one group; ends
/// come in another order on each rank.
TEST_P(TwoHops, MayInterleaveInAnyOrderOfEnds) {
  run_ranks(Mode::threads, ranks(), [&](Communicator& group) {
    const ExchangeCase shape = this->shape();
    auto alone = make<double>(group, shape, options(Hops::one));
    auto first = make<double>(group, shape, options(Hops::two));
    auto second = make<double>(group, shape, options(Hops::two));
    constexpr int kLayouts = 4;
    ExpertLayout layouts[kLayouts], other;
    for (int round = 0; round < 10; ++round) {
      std::vector<TokenBatch<double>> batches;
      std::vector<RoundResult<double>> expected;
      for (int i = 0; i < kLayouts; ++i) {
        batches.push_back(draw_batch<double>(shape, kRoutings[(round + i) % 4], group.rank(),
                                             round * kLayouts + i));
        expected.push_back(run_round(alone, other, shape, batches.back(), group.rank()));
      }
      const auto exchange_of = [&](int i) -> ExpertExchange<double>& {
        return i % 2 == 0 ? first : second;
      };
      const auto in_own_order = [&](const std::function<void(int)>& end) {
        for (int i = 0; i < kLayouts; ++i) end((i * 3 + group.rank() + round) % kLayouts);
      };
      std::vector<std::vector<double>> parts(kLayouts), out(kLayouts);
      const auto begin_dispatch = [&](int i) {
        const auto& batch = batches[static_cast<std::size_t>(i)];
        check(exchange_of(i).begin_dispatch(layouts[i], static_cast<Tag>(i), batch.num_tokens,
                                            batch.rows.data(), batch.experts.data(),
                                            batch.weights.data()));
      };
      const auto end_dispatch = [&](int i) {
        const auto at = static_cast<std::size_t>(i);
        const double* rows = value_of(exchange_of(i).end_dispatch(layouts[i]));
        parts[at].assign(rows, rows + layouts[i].num_rows * shape.hidden);
        EXPECT_EQ(parts[at], expected[at].rows);
        for (double& value : parts[at]) value *= 1.0 / (3 + group.rank());
      };
      const auto begin_combine = [&](int i) {
        const auto at = static_cast<std::size_t>(i);
        out[at].assign(batches[at].rows.size(), 0.1);
        check(exchange_of(i).begin_combine(layouts[i], static_cast<Tag>(10 + i), parts[at].data()));
      };
      const auto end_combine = [&](int i) {
        const auto at = static_cast<std::size_t>(i);
        check(exchange_of(i).end_combine(layouts[i], out[at].data()));
        EXPECT_EQ(out[at], expected[at].combined);
      };
      begin_dispatch(0);
      begin_dispatch(1);
      group.rank() % 2 == 0 ? (end_dispatch(0), end_dispatch(1))
                            : (end_dispatch(1), end_dispatch(0));
      // Back and forth are under way together: rails and node are used in both orders.
      begin_combine(0);
      begin_dispatch(2);
      begin_combine(1);
      begin_dispatch(3);
      in_own_order([&](int i) { i < 2 ? end_combine(i) : end_dispatch(i); });
      begin_combine(2);
      begin_combine(3);
      in_own_order([&](int i) {
        if (i >= 2) end_combine(i);
      });
    }
  });
}

TEST_P(TwoHops, SendTheBytesThatAreCountedFromTheChoices) {
  for (const Payload payload : {Payload::full, Payload::fp8, Payload::bf16})
    for (const Hops hops : {Hops::one, Hops::two})
      run_ranks(Mode::threads, ranks(), [&](Communicator& group) {
        const ExchangeCase shape = this->shape();
        auto exchange = make<float>(group, shape, options(hops, payload));
        ExpertLayout layout;
        ExchangeTraffic total;
        for (int round = 0; round < 4; ++round) {
          std::vector<RankChoices> choices;
          for (int r = 0; r < ranks(); ++r)
            choices.push_back(draw_batch<float>(shape, kRoutings[round], r, round).experts);
          const auto batch = draw_batch<float>(shape, kRoutings[round], group.rank(), round);
          run_round(exchange, layout, shape, batch, group.rank());
          const auto counted = exchange_traffic(
              {shape.num_experts, shape.top_k, shape.hidden, sizeof(float)}, options(hops, payload),
              choices)[static_cast<std::size_t>(group.rank())];
          for (std::size_t s = 0; s < counted.steps.size(); ++s) total.steps[s] += counted.steps[s];
          EXPECT_EQ(exchange.traffic(), total);
        }
      });
}

INSTANTIATE_TEST_SUITE_P(Worlds, TwoHops, testing::ValuesIn(kWorlds),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(TwoHopExchange, BigMessagesStreamThroughTheRings) {
  run_ranks(Mode::threads, 4, [](Communicator& group) {
    const ExchangeCase shape{8, 3, 512, 800};
    const NodeMap nodes = NodeMap::blocks(2, 2);
    same_bits_as_one_hop<float>(group, shape, {nodes, Hops::one, Payload::full},
                                {nodes, Hops::two, Payload::full}, 2);
  });
}

TEST(TwoHopExchange, RunsBetweenProcesses) {
  run_ranks(Mode::processes, 4, [](Communicator& group) {
    const NodeMap nodes = NodeMap::blocks(2, 2);
    same_bits_as_one_hop<float>(group, {}, {nodes, Hops::one, Payload::full},
                                {nodes, Hops::two, Payload::full});
  });
}

TEST(ExpertExchange, SumsAscendInsideANodeAndThenOverNodes) {
  for (const Hops hops : {Hops::one, Hops::two})
    run_ranks(Mode::threads, 4, [hops](Communicator& group) {
      ExpertExchange<float> exchange(group, 4, 4, 1, 1,
                                     {NodeMap::blocks(2, 2), hops, Payload::full});
      const std::int32_t experts[] = {3, 1, 0, 2};
      const float weights[] = {1, 1, 1, 1}, x = 1;
      ExpertLayout layout;
      check(exchange.begin_dispatch(layout, 1, 1, &x, experts, weights));
      value_of(exchange.end_dispatch(layout));
      const float parts[] = {0.7f, 1e8f, -1e8f, 0.6f};
      const std::vector<float> rows(4, parts[group.rank()]);
      float out = 2.0f;
      check(exchange.begin_combine(layout, 2, rows.data()));
      check(exchange.end_combine(layout, &out));
      const float first = parts[0] + parts[1], second = parts[2] + parts[3];
      EXPECT_EQ(out, 2.0f + (first + second));
      EXPECT_NE(first + second, ((parts[0] + parts[1]) + parts[2]) + parts[3]);
    });
}

TEST(NodeMap, NumbersNodesByTheirLowestRank) {
  const NodeMap map = value_of(NodeMap::make({5, 3, 3, 5}));
  EXPECT_EQ(map.num_nodes(), 2);
  EXPECT_EQ(map.ranks_per_node(), 2);
  EXPECT_EQ(map.rank_at(0, 1), 3);
  EXPECT_EQ(map.rank_at(1, 0), 1);
  EXPECT_EQ(map.node_of(2), 1);
  EXPECT_EQ(map.index_of(2), 1);
  EXPECT_EQ(NodeMap::blocks(3, 2), value_of(NodeMap::make({7, 7, 1, 1, 0, 0})));
}

TEST(NodeMap, RefusesNodesOfUnequalSizeAndNamesThem) {
  const auto map = NodeMap::make({8, 9, 9});
  ASSERT_FALSE(map);
  EXPECT_EQ(map.error().code, Code::InvalidArgument);
  EXPECT_NE(map.error().message.find("node 9 holds 2"), std::string::npos) << map.error().message;
}

}  // namespace
}  // namespace weft::comm
