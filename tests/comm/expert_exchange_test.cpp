#include "comm/exchange/expert_exchange.h"

#include <cstring>

#include "base/rng.h"
#include "comm/exchange/expert_messages.h"
#include "tests/comm/ranks.h"

namespace weft::comm {
namespace {

/// One rank's micro-batch, the same wherever it is drawn, so that every rank knows what to expect.
struct Batch {
  int num_tokens;
  std::vector<double> rows, weights;
  std::vector<std::int32_t> experts;
};

struct Shape {
  int num_experts = 8, top_k = 3, hidden = 5, max_tokens = 12;
};

/// Small integers: sums of them are exact in any order.
double small(Rng& rng) { return static_cast<double>(rng.below(9)) - 4; }

Batch draw(const Shape& shape, int rank, int round) {
  Rng rng(5, "batch", static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(round));
  Batch batch;
  batch.num_tokens =
      rng.below(6) == 0
          ? 0
          : static_cast<int>(rng.below(static_cast<std::uint32_t>(shape.max_tokens + 1)));
  for (int i = 0; i < batch.num_tokens * shape.hidden; ++i) batch.rows.push_back(small(rng));
  for (int t = 0; t < batch.num_tokens; ++t) {
    std::vector<std::int32_t> left(static_cast<std::size_t>(shape.num_experts));
    for (int e = 0; e < shape.num_experts; ++e) left[static_cast<std::size_t>(e)] = e;
    for (int k = 0; k < shape.top_k; ++k) {
      const auto pick = rng.below(static_cast<std::uint32_t>(left.size()));
      batch.experts.push_back(left[pick]);
      left.erase(left.begin() + pick);
      batch.weights.push_back(0.25 * (1 + rng.below(8)));
    }
  }
  return batch;
}

bool chose_rank(const Batch& batch, int token, int rank, const Shape& shape, int ranks) {
  for (int k = 0; k < shape.top_k; ++k)
    if (batch.experts[static_cast<std::size_t>(token * shape.top_k + k)] /
            (shape.num_experts / ranks) ==
        rank)
      return true;
  return false;
}

/// What must lie on `rank` after the dispatch, found the slow way.
struct Expectation {
  std::vector<double> rows;
  std::vector<std::int32_t> expert_begin, slot_row;
  std::vector<double> slot_weight;
};

Expectation expect_dispatch(const Shape& shape, int rank, int ranks, int round) {
  Expectation expected;
  const int local = shape.num_experts / ranks;
  std::vector<Batch> batches;
  for (int source = 0; source < ranks; ++source) batches.push_back(draw(shape, source, round));
  struct Row {
    const Batch& batch;
    int token;
  };
  std::vector<Row> rows;
  for (const Batch& batch : batches) {
    for (int token = 0; token < batch.num_tokens; ++token)
      if (chose_rank(batch, token, rank, shape, ranks)) rows.push_back({batch, token});
  }
  for (const Row& row : rows)
    for (int h = 0; h < shape.hidden; ++h)
      expected.rows.push_back(
          row.batch.rows[static_cast<std::size_t>(row.token * shape.hidden + h)]);
  for (int e = 0; e < local; ++e) {
    expected.expert_begin.push_back(static_cast<std::int32_t>(expected.slot_row.size()));
    for (std::size_t r = 0; r < rows.size(); ++r) {
      for (int k = 0; k < shape.top_k; ++k) {
        const auto choice = static_cast<std::size_t>(rows[r].token * shape.top_k + k);
        if (rows[r].batch.experts[choice] != rank * local + e) continue;
        expected.slot_row.push_back(static_cast<std::int32_t>(r));
        expected.slot_weight.push_back(rows[r].batch.weights[choice]);
      }
    }
  }
  expected.expert_begin.push_back(static_cast<std::int32_t>(expected.slot_row.size()));
  return expected;
}

template <class Real>
std::vector<Real> as(const std::vector<double>& values) {
  return std::vector<Real>(values.begin(), values.end());
}

template <class Real>
void expect_layout(const ExpertLayout& layout, const Real* rows, const Expectation& expected,
                   const Shape& shape) {
  ASSERT_EQ(layout.num_rows * shape.hidden, static_cast<int>(expected.rows.size()));
  EXPECT_EQ(std::vector<double>(rows, rows + expected.rows.size()), expected.rows);
  EXPECT_EQ(layout.expert_begin, expected.expert_begin);
  EXPECT_EQ(layout.slot_row, expected.slot_row);
  EXPECT_EQ(layout.slot_weight, as<float>(expected.slot_weight));
  if (sizeof(Real) == 8) {
    EXPECT_EQ(layout.slot_weight_double, expected.slot_weight);
  }
}

template <class Real>
void dispatch_puts_rows_where_their_experts_are(Communicator& group) {
  const Shape shape;
  ExpertExchange<Real> exchange(group, shape.num_experts, shape.top_k, shape.hidden,
                                shape.max_tokens);
  ExpertLayout layout;
  for (int round = 0; round < 12; ++round) {
    const Batch batch = draw(shape, group.rank(), round);
    auto rows = as<Real>(batch.rows), weights = as<Real>(batch.weights);
    auto experts = batch.experts;
    check(exchange.begin_dispatch(layout, 1, batch.num_tokens, rows.data(), experts.data(),
                                  weights.data()));
    std::fill(rows.begin(), rows.end(), Real{99});  // ours again
    std::fill(experts.begin(), experts.end(), -1);
    const Real* arrived = value_of(exchange.end_dispatch(layout));
    expect_layout(layout, arrived, expect_dispatch(shape, group.rank(), group.size(), round),
                  shape);
  }
}

/// <dispatch(x), y> == <x, dispatch_backward(y)>, and the same for combine, summed over the ranks.
void backward_passes_are_the_adjoints(Communicator& group) {
  const Shape shape;
  ExpertExchange<double> exchange(group, shape.num_experts, shape.top_k, shape.hidden,
                                  shape.max_tokens);
  ExpertLayout layout;
  for (int round = 0; round < 12; ++round) {
    const Batch batch = draw(shape, group.rank(), round);
    Rng rng(6, "cotangent", static_cast<std::uint64_t>(group.rank()),
            static_cast<std::uint64_t>(round));
    check(exchange.begin_dispatch(layout, 1, batch.num_tokens, batch.rows.data(),
                                  batch.experts.data(), batch.weights.data()));
    const double* arrived = value_of(exchange.end_dispatch(layout));
    const auto num_values = static_cast<std::size_t>(layout.num_rows * shape.hidden);
    std::vector<double> y(num_values), slot_y(static_cast<std::size_t>(layout.num_slots));
    for (double& v : y) v = small(rng);
    for (double& v : slot_y) v = small(rng);
    double products[4] = {};
    for (std::size_t i = 0; i < num_values; ++i) products[0] += arrived[i] * y[i];
    for (std::size_t i = 0; i < slot_y.size(); ++i)
      products[0] += layout.slot_weight_double[i] * slot_y[i];

    std::vector<double> out(batch.rows.size()), z(batch.rows.size());
    for (double& v : z) v = small(rng);
    check(exchange.begin_combine(layout, 2, y.data()));
    check(exchange.end_combine(layout, out.data()));
    for (std::size_t i = 0; i < out.size(); ++i) products[2] += out[i] * z[i];
    check(exchange.begin_combine_backward(layout, 3, z.data()));
    const double* back = value_of(exchange.end_combine_backward(layout));
    for (std::size_t i = 0; i < num_values; ++i) products[3] += back[i] * y[i];

    std::vector<double> d_rows(batch.rows.size(), 1.0), d_weights(batch.weights.size(), 77.0);
    check(exchange.begin_dispatch_backward(layout, 4, y.data(), slot_y.data()));
    check(exchange.end_dispatch_backward(layout, d_rows.data(), d_weights.data()));
    for (std::size_t i = 0; i < d_rows.size(); ++i)
      products[1] += batch.rows[i] * (d_rows[i] - 1.0);  // added to what was there
    for (std::size_t i = 0; i < d_weights.size(); ++i)
      products[1] += batch.weights[i] * d_weights[i];
    check(all_reduce_sum(group, std::span<double>(products)));
    EXPECT_EQ(products[0], products[1]);
    EXPECT_EQ(products[2], products[3]);
  }
}

void combine_adds_parts_in_ascending_rank_order(Communicator& group) {
  const int n = group.size();
  ExpertExchange<float> exchange(group, n, n, 1, 1);  // every rank holds one expert, all are chosen
  std::vector<std::int32_t> experts;
  for (int e = n - 1; e >= 0; --e) experts.push_back(e);
  const std::vector<float> weights(static_cast<std::size_t>(n), 1.0f);
  const float x = 1.0f;
  ExpertLayout layout;
  check(exchange.begin_dispatch(layout, 1, 1, &x, experts.data(), weights.data()));
  value_of(exchange.end_dispatch(layout));
  const auto part_of = [](int rank) { return rank == 1 ? 1e8f : rank == 2 ? -1e8f : 0.7f; };
  const std::vector<float> parts(static_cast<std::size_t>(layout.num_rows), part_of(group.rank()));
  check(exchange.begin_combine(layout, 2, parts.data()));
  float out = 2.0f, expected = part_of(0);
  check(exchange.end_combine(layout, &out));
  for (int r = 1; r < n; ++r) expected += part_of(r);
  EXPECT_EQ(out, 2.0f + expected);
}

/// Two exchanges and several layouts share the group; ends come in another order than begins.
void exchanges_may_interleave(Communicator& group) {
  const Shape a, b{16, 2, 3, 40};
  ExpertExchange<float> first(group, a.num_experts, a.top_k, a.hidden, a.max_tokens);
  ExpertExchange<float> second(group, b.num_experts, b.top_k, b.hidden, b.max_tokens);
  ExpertLayout one, two, three;
  const auto begin = [&](ExpertExchange<float>& exchange, const Shape& shape, ExpertLayout& layout,
                         int round, Tag tag) {
    const Batch batch = draw(shape, group.rank(), round);
    check(exchange.begin_dispatch(layout, tag, batch.num_tokens, as<float>(batch.rows).data(),
                                  batch.experts.data(), as<float>(batch.weights).data()));
  };
  const auto end = [&](ExpertExchange<float>& exchange, const Shape& shape, ExpertLayout& layout,
                       int round) {
    const float* rows = value_of(exchange.end_dispatch(layout));
    expect_layout(layout, rows, expect_dispatch(shape, group.rank(), group.size(), round), shape);
  };
  for (int round = 0; round < 6; ++round) {
    begin(first, a, one, round, 1);
    begin(second, b, two, round + 100, 2);
    begin(first, a, three, round + 200, 3);
    if (group.rank() % 2 == 0) {
      end(second, b, two, round + 100);
      end(first, a, three, round + 200);
      end(first, a, one, round);
    } else {
      end(first, a, three, round + 200);
      end(first, a, one, round);
      end(second, b, two, round + 100);
    }
  }
}

void big_exchanges_stream_through_the_rings(Communicator& group) {
  const Shape shape{4, 2, 512, 1500};
  ExpertExchange<float> exchange(group, shape.num_experts, shape.top_k, shape.hidden,
                                 shape.max_tokens);
  ExpertLayout layout;
  const int round = 3;
  const Batch batch = draw(shape, group.rank(), round);
  check(exchange.begin_dispatch(layout, 1, batch.num_tokens, as<float>(batch.rows).data(),
                                batch.experts.data(), as<float>(batch.weights).data()));
  const float* rows = value_of(exchange.end_dispatch(layout));
  expect_layout(layout, rows, expect_dispatch(shape, group.rank(), group.size(), round), shape);
}

class ExpertExchangeOver : public testing::TestWithParam<std::pair<Mode, int>> {
 protected:
  void run(const RankBody& body) { run_ranks(GetParam().first, GetParam().second, body); }
};

TEST_P(ExpertExchangeOver, DispatchPutsRowsWhereTheirExpertsAre) {
  run(dispatch_puts_rows_where_their_experts_are<float>);
  run(dispatch_puts_rows_where_their_experts_are<double>);
}
TEST_P(ExpertExchangeOver, BackwardPassesAreTheAdjoints) { run(backward_passes_are_the_adjoints); }
TEST_P(ExpertExchangeOver, CombineAddsPartsInAscendingRankOrder) {
  run(combine_adds_parts_in_ascending_rank_order);
}
TEST_P(ExpertExchangeOver, ExchangesMayInterleave) { run(exchanges_may_interleave); }
TEST_P(ExpertExchangeOver, BigExchangesStreamThroughTheRings) {
  run(big_exchanges_stream_through_the_rings);
}

INSTANTIATE_TEST_SUITE_P(Ranks, ExpertExchangeOver,
                         testing::Values(std::pair(Mode::self, 1), std::pair(Mode::threads, 1),
                                         std::pair(Mode::threads, 2), std::pair(Mode::threads, 4),
                                         std::pair(Mode::processes, 2),
                                         std::pair(Mode::processes, 4)),
                         [](const auto& tested) {
                           return std::string(to_string(tested.param.first)) +
                                  std::to_string(tested.param.second);
                         });

TEST(ExpertExchange, RefusesChoicesThatAreNoExpertsOrMadeTwice) {
  run_ranks(Mode::self, 1, [](Communicator& group) {
    ExpertExchange<float> exchange(group, 4, 2, 1, 2);
    ExpertLayout layout;
    const float row = 1, weights[] = {1, 1, 1, 1};
    for (const auto& [experts, tokens] : std::vector<std::pair<std::vector<std::int32_t>, int>>{
             {{0, 4}, 1}, {{-1, 2}, 1}, {{3, 3}, 1}, {{0, 1}, 3}}) {
      const auto result = exchange.begin_dispatch(layout, 1, tokens, &row, experts.data(), weights);
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().code, Code::InvalidArgument);
    }
    const std::int32_t good[] = {1, 0};
    check(exchange.begin_dispatch(layout, 1, 1, &row, good, weights));
    value_of(exchange.end_dispatch(layout));
    EXPECT_EQ(layout.num_slots, 2);
  });
}

/// A dispatch message with 2 rows, 3 choices.
std::vector<std::byte> good_message(const ExchangeShape& shape) {
  const auto at = shape.places(2, 3);
  std::vector<std::byte> message(at.end);
  const DispatchHeader header{
      kDispatchMagic, shape.real_bytes, shape.hidden, shape.num_local_experts, 2, 3, 0, 0};
  std::memcpy(message.data(), &header, sizeof header);
  const std::int32_t counts[] = {2, 1}, experts[] = {3, 0, 3};
  std::memcpy(message.data() + at.counts, counts, sizeof counts);
  std::memcpy(message.data() + at.experts, experts, sizeof experts);
  return message;
}

TEST(DispatchMessage, NoCutAndNoFlippedBitReadsOutsideIt) {
  const ExchangeShape shape{4, 3, 4, 8, 2};
  const auto good = good_message(shape);
  const auto view = read_dispatch(shape, good);
  ASSERT_TRUE(view) << view.error().message;
  EXPECT_EQ(view->num_choices, 3u);
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(read_dispatch(shape, std::span(good).first(size))) << size;
  const auto at = shape.places(2, 3);
  int refused = 0;
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bad = good;
    bad[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto result = read_dispatch(shape, bad);
    if (!result) ++refused;
    if (!result) continue;
    for (std::uint32_t i = 0; i < result->num_choices; ++i)
      EXPECT_TRUE(result->experts[i] >= 0 && result->experts[i] < 4);
  }
  EXPECT_GT(refused, static_cast<int>((at.experts - at.counts) * 8 + 24 * 8 - 16));
}

TEST(ExpertExchange, AStrangeMessageIsCorruptAndNamesThePeer) {
  run_ranks(Mode::threads, 2, [](Communicator& group) {
    group.set_serving("F mb 1");
    if (group.rank() == 1) {
      const std::vector<std::byte> junk(40, std::byte{0x5a});
      check(send(group, 0, 1, junk));
      return;
    }
    ExpertExchange<float> exchange(group, 2, 1, 1, 4);
    ExpertLayout layout;
    check(exchange.begin_dispatch(layout, 1, 0, nullptr, nullptr, nullptr));
    const auto result = exchange.end_dispatch(layout);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::Corrupt);
    EXPECT_NE(result.error().message.find("rank 1"), std::string::npos) << result.error().message;
    EXPECT_NE(result.error().message.find("F mb 1"), std::string::npos) << result.error().message;
  });
}

}  // namespace
}  // namespace weft::comm
