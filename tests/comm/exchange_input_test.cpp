// What peers send in either hop is input: anything strange is Corrupt and names the peer.
#include <cstring>
#include <functional>

#include "comm/exchange/expert_messages.h"
#include "comm/exchange/expert_sections.h"
#include "tests/comm/exchange_cases.h"

namespace weft::comm {
namespace {

// Ranks 0 and 1 on one node, 2 and 3 on another; one expert a rank.
constexpr ExchangeCase kCase{4, 2, 3, 4};
constexpr ExchangeShape kRankShape{4, 3, 1, 4, 2}, kNodeShape{4, 3, 2, 4, 2};

ExpertExchange<float> make_exchange(Communicator& group) {
  return {group,        kCase.num_experts, kCase.top_k,
          kCase.hidden, kCase.max_tokens,  {NodeMap::blocks(2, 2), Hops::two, Payload::full}};
}

/// A good dispatch message of `num_rows` rows, each for local expert 0.
std::vector<std::byte> dispatch_message(const ExchangeShape& shape, int num_rows) {
  Route route;
  for (std::int32_t row = 0; row < num_rows; ++row) add_choice(route, row, row);
  const std::vector<float> rows(static_cast<std::size_t>(num_rows) * shape.hidden, 1.0f),
      weights(static_cast<std::size_t>(num_rows), 0.5f);
  const std::vector<std::int32_t> experts(static_cast<std::size_t>(num_rows), 0), local{0};
  std::vector<std::byte> message(shape.places(route.rows.size(), route.choices.size()).end);
  write_dispatch(shape, route, reinterpret_cast<const std::byte*>(rows.data()), experts.data(),
                 local.data(), weights.data(), message.data());
  return message;
}

/// What a relay hands on: a section of each node.
std::vector<std::byte> sections_of(const std::vector<std::vector<std::byte>>& sections) {
  std::vector<std::byte> message(sections.size() * sizeof(std::uint64_t));
  for (std::size_t i = 0; i < sections.size(); ++i) {
    const std::uint64_t length = sections[i].size();
    std::memcpy(message.data() + i * sizeof length, &length, sizeof length);
    message.insert(message.end(), sections[i].begin(), sections[i].end());
    message.resize(padded_section(message.size()));
  }
  return message;
}

template <class T>
void put(std::vector<std::byte>& message, std::size_t at, T value) {
  std::memcpy(message.data() + at, &value, sizeof value);
}

struct Damage {
  const char* what;
  std::function<void(std::vector<std::byte>&, const ExchangeShape&)> apply;
};

/// To a dispatch message of two rows.
const Damage kDamages[] = {
    {"magic", [](auto& m, const auto&) { put(m, 0, 0xdeadbeefu); }},
    {"width", [](auto& m, const auto&) { put(m, offsetof(DispatchHeader, hidden), 99u); }},
    {"payload", [](auto& m, const auto&) { put(m, offsetof(DispatchHeader, payload), 2u); }},
    {"rows", [](auto& m, const auto&) { put(m, offsetof(DispatchHeader, num_rows), 5u); }},
    {"huge", [](auto& m, const auto&) { put(m, offsetof(DispatchHeader, num_rows), ~0u); }},
    {"cut", [](auto& m, const auto&) { m.resize(m.size() - 8); }},
    {"cut in the header", [](auto& m, const auto&) { m.resize(16); }},
    {"nothing", [](auto& m, const auto&) { m.clear(); }},
    {"expert", [](auto& m, const auto& s) { put(m, s.places(2, 2).experts, 7); }},
    {"negative expert", [](auto& m, const auto& s) { put(m, s.places(2, 2).experts, -1); }},
    {"count", [](auto& m, const auto& s) { put(m, s.places(2, 2).counts, 1000000); }},
    {"negative count", [](auto& m, const auto& s) { put(m, s.places(2, 2).counts, -1); }}};

void expect_corrupt(const Error& error, const std::string& peer) {
  EXPECT_EQ(error.code, Code::Corrupt);
  EXPECT_NE(error.message.find("from " + peer), std::string::npos) << error.message;
  EXPECT_NE(error.message.find("F mb 1"), std::string::npos) << error.message;
}

/// Rank 0 dispatches nothing; `others` play the rest of the world by hand.
void rank_0_refuses(const std::string& peer, const RankBody& others) {
  run_ranks(Mode::threads, 4, [&](Communicator& group) {
    if (group.rank() != 0) return others(group);
    group.set_serving("F mb 1");
    auto exchange = make_exchange(group);
    ExpertLayout layout;
    check(exchange.begin_dispatch(layout, 1, 0, nullptr, nullptr, nullptr));
    const auto result = exchange.end_dispatch(layout);
    ASSERT_FALSE(result);
    expect_corrupt(result.error(), peer);
  });
}

TEST(ExchangeInput, AStrangeMessageAlongTheRailNamesItsSender) {
  for (const Damage& damage : kDamages) {
    SCOPED_TRACE(damage.what);
    auto message = dispatch_message(kNodeShape, 2);
    damage.apply(message, kNodeShape);
    rank_0_refuses("rank 2", [&](Communicator& group) {
      if (group.rank() == 2) check(send(group, 0, 1, message));
    });
  }
}

TEST(ExchangeInput, AStrangeSectionNamesTheRelayAndTheSource) {
  for (const Damage& damage : kDamages) {
    SCOPED_TRACE(damage.what);
    auto section = dispatch_message(kRankShape, 2);
    damage.apply(section, kRankShape);
    const auto relayed = sections_of({dispatch_message(kRankShape, 0), section});
    rank_0_refuses("rank 1", [&](Communicator& group) {
      if (group.rank() == 2) check(send(group, 0, 1, dispatch_message(kNodeShape, 0)));
      if (group.rank() == 1) check(send(group, 0, 1, relayed));
    });
  }
}

TEST(ExchangeInput, StrangeSectionLengthsNameTheRelay) {
  const auto good = sections_of({dispatch_message(kRankShape, 1), dispatch_message(kRankShape, 2)});
  for (int kind = 0; kind < 5; ++kind) {
    SCOPED_TRACE(kind);
    auto bad = good;
    if (kind == 0) bad.resize(9);
    if (kind == 1) put(bad, 0, ~std::uint64_t{0});
    if (kind == 2) put(bad, 8, std::uint64_t{8});
    if (kind == 3) bad.resize(bad.size() - 8);
    if (kind == 4) bad.resize(bad.size() + 8);
    EXPECT_FALSE(Sections::open(bad, 2));
    rank_0_refuses("rank 1", [&](Communicator& group) {
      if (group.rank() == 2) check(send(group, 0, 1, dispatch_message(kNodeShape, 0)));
      if (group.rank() == 1) check(send(group, 0, 1, bad));
    });
  }
}

/// After a true dispatch, `liar` sends rank 0 a wrong length in the next exchange.
void rank_0_refuses_a_length_of(int liar, bool back) {
  run_ranks(Mode::threads, 4, [&](Communicator& group) {
    group.set_serving("F mb 1");
    auto exchange = make_exchange(group);
    ExpertLayout layout;
    const std::vector<float> rows(3, 1.0f), weights(2, 1.0f);
    const std::vector<std::int32_t> experts{1, 2};
    check(exchange.begin_dispatch(layout, 1, 1, rows.data(), experts.data(), weights.data()));
    const float* arrived = value_of(exchange.end_dispatch(layout));
    check(barrier(group));
    if (group.rank() == liar) check(send(group, 0, 2, std::vector<std::byte>(4)));
    if (group.rank() != 0) return;
    std::vector<float> out(3);
    const auto result = [&]() -> Expected<void> {
      if (back) {
        WEFT_TRY(exchange.begin_combine(layout, 2, arrived));
        return exchange.end_combine(layout, out.data());
      }
      WEFT_TRY(exchange.begin_combine_backward(layout, 2, rows.data()));
      WEFT_TRY(exchange.end_combine_backward(layout));
      return {};
    }();
    ASSERT_FALSE(result);
    expect_corrupt(result.error(), "rank " + std::to_string(liar));
  });
}

TEST(ExchangeInput, AWrongLengthAfterTheDispatchNamesThePeer) {
  rank_0_refuses_a_length_of(1, true);   // back: inside the node first
  rank_0_refuses_a_length_of(2, false);  // forth: along the rail first
}

TEST(ExchangeInput, ARefusedMessageEndsLaterExchangesToo) {
  run_ranks(Mode::threads, 4, [](Communicator& group) {
    if (group.rank() == 2) check(send(group, 0, 1, std::vector<std::byte>(40)));
    if (group.rank() != 0) return;
    group.set_serving("F mb 1");
    auto exchange = make_exchange(group);
    ExpertLayout first, second;
    check(exchange.begin_dispatch(first, 1, 0, nullptr, nullptr, nullptr));
    check(exchange.begin_dispatch(second, 2, 0, nullptr, nullptr, nullptr));
    for (ExpertLayout* layout : {&second, &first}) {
      const auto result = exchange.end_dispatch(*layout);
      ASSERT_FALSE(result);
      expect_corrupt(result.error(), "rank 2");
    }
  });
}

/// What a rounding dispatch delivers is the plain exchange of rounded rows, own rows included.
template <class Real>
void rounds_and_nothing_else(Communicator& group, Hops hops, Payload payload) {
  const ExchangeCase shape{8, 3, 130, 6};
  const NodeMap nodes = NodeMap::blocks(2, 2);
  ExpertExchange<Real> rounding(group, shape.num_experts, shape.top_k, shape.hidden,
                                shape.max_tokens, {nodes, hops, payload});
  ExpertExchange<Real> plain(group, shape.num_experts, shape.top_k, shape.hidden, shape.max_tokens,
                             {nodes, Hops::one, Payload::full});
  ExpertLayout one, two;
  for (int round = 0; round < 4; ++round) {
    const auto batch = draw_batch<Real>(shape, kRoutings[round], group.rank(), round);
    const auto rounded = [&](const std::vector<Real>& rows) {
      const auto hidden = static_cast<std::size_t>(shape.hidden), n = rows.size() / hidden;
      std::vector<std::byte> wire(n * payload_row_bytes(payload, hidden, sizeof(Real)));
      std::vector<Real> out(rows.size());
      encode_rows(payload, hidden, n, rows.data(), wire.data());
      decode_rows(payload, hidden, n, wire.data(), out.data());
      return out;
    };
    auto before = batch;
    before.rows = rounded(batch.rows);
    before.gradients = rounded(batch.gradients);
    const auto expected = run_round(plain, one, shape, before, group.rank());
    EXPECT_EQ(run_round(rounding, two, shape, batch, group.rank()), expected);
  }
}

TEST(ExchangePayload, RoundsRowsAndNothingElse) {
  for (const Hops hops : {Hops::one, Hops::two})
    for (const Payload payload : {Payload::fp8, Payload::bf16})
      run_ranks(Mode::threads, 4, [&](Communicator& group) {
        rounds_and_nothing_else<float>(group, hops, payload);
        rounds_and_nothing_else<double>(group, hops, payload);
      });
}

}  // namespace
}  // namespace weft::comm
