// The executor against the timeline, on simulated time: what was predicted is what happens,
// exactly.
#include "runtime/worker/virtual_rank.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "comm/sim/sim_world.h"

namespace weft::runtime {
namespace {

using dualpipe::Kind;
using std::chrono::milliseconds;

constexpr double kUnit = 1e6;  // nanoseconds of a millisecond, the unit of these tests

struct Outcome {
  VirtualPlan plan;
  VirtualStep step;  // the last one
  std::string error;
  double makespan() const { return static_cast<double>(step.makespan_ns()) / kUnit; }
};

/// Every rank of the layout on simulated time, for `steps` steps.
Outcome simulate(const VirtualOptions& options, const comm::SimOptions& network = {},
                 int steps = 2) {
  Outcome run;
  comm::SimWorld world(options.layout.world(), network);
  world.run([&](const comm::SimWorld::Rank& self) {
    const auto body = [&]() -> Expected<void> {
      WEFT_TRY_ASSIGN(const auto rank, VirtualRank::create(self.transport, self.clock, options));
      for (int i = 0; i < steps; ++i) {
        WEFT_TRY_ASSIGN(run.step, rank->step(false));
      }
      if (self.rank == 0) run.plan = rank->plan();
      return {};
    };
    if (const auto done = body(); !done && run.error.empty()) run.error = done.error().message;
  });
  return run;
}

VirtualOptions unit_costs(Kind kind, int ranks, int micro_batches) {
  VirtualOptions options;
  options.layout = {kind, ranks, 1, 1, micro_batches};
  options.times.forward = options.times.backward_input = options.times.weight = milliseconds(1);
  return options;
}

/// Makespan, and each rank's busy time and bubble, to the nanosecond.
void expect_as_predicted(const Outcome& run, int lanes = 1) {
  ASSERT_EQ(run.error, "");
  const dualpipe::Timeline& timeline = run.plan.timeline;
  EXPECT_EQ(static_cast<double>(run.step.makespan_ns()), timeline.makespan);
  for (std::size_t rank = 0; rank < run.step.ranks.size(); ++rank) {
    const std::size_t position = rank / static_cast<std::size_t>(lanes);
    const VirtualRankStep& was = run.step.ranks[rank];
    const auto busy = static_cast<double>(was.busy_ns());
    EXPECT_EQ(busy, timeline.busy[position]) << "rank " << rank;
    EXPECT_EQ(static_cast<double>(run.step.makespan_ns()) - busy, timeline.bubble[position]);
    EXPECT_EQ(was.late_ns, 0);
  }
}

TEST(VirtualRank, TakesExactlyThePublishedUnitCostMakespans) {
  struct Case {
    Kind kind;
    int ranks, micro_batches;
    double makespan;
  };
  for (const Case& c : {Case{Kind::OneFOneB, 8, 20, 81}, Case{Kind::ZeroBubble, 8, 20, 67},
                        Case{Kind::DualPipe, 8, 20, 66}, Case{Kind::DualPipeV, 4, 10, 66}}) {
    SCOPED_TRACE(dualpipe::to_string(c.kind));
    const Outcome run = simulate(unit_costs(c.kind, c.ranks, c.micro_batches));
    expect_as_predicted(run);
    EXPECT_EQ(run.makespan(), c.makespan);
  }
}

TEST(VirtualRank, EveryKindTakesWhatTheTimelineSays) {
  for (const Kind kind : {Kind::GPipe, Kind::OneFOneB, Kind::Interleaved, Kind::ZeroBubble,
                          Kind::ZBV, Kind::DualPipe, Kind::DualPipeV})
    for (const auto& [ranks, micro_batches] : {std::pair{2, 4}, {4, 12}, {8, 24}}) {
      SCOPED_TRACE(std::string(dualpipe::to_string(kind)) + " " + std::to_string(ranks));
      expect_as_predicted(simulate(unit_costs(kind, ranks, micro_batches)));
    }
}

TEST(VirtualRank, SendsThatWaitForTheirReceiveCostNothing) {
  for (const Kind kind : {Kind::GPipe, Kind::ZeroBubble, Kind::DualPipe, Kind::DualPipeV}) {
    SCOPED_TRACE(dualpipe::to_string(kind));
    VirtualOptions options = unit_costs(kind, 4, 12);
    options.times.backward_input = milliseconds(3);
    expect_as_predicted(simulate(options, {.link = {}, .eager_bytes_max = 0}));
  }
}

TEST(VirtualRank, StagesOfUnequalLengthTakeWhatTheTimelineSays) {
  for (const Kind kind : {Kind::OneFOneB, Kind::ZeroBubble, Kind::ZBV, Kind::DualPipe}) {
    SCOPED_TRACE(dualpipe::to_string(kind));
    VirtualOptions options = unit_costs(kind, 4, 10);
    options.times.forward = milliseconds(3);
    options.times.backward_input = milliseconds(4);
    options.times.weight = milliseconds(2);
    options.times.stage_factors = {1, 1.7, 0.4, 1.1};
    if (kind == Kind::ZBV) options.times.stage_factors = {1, 2, 0.3, 1, 1.5, 0.9, 1, 1.2};
    expect_as_predicted(simulate(options));
  }
}

TEST(VirtualRank, MessagesThatTakeTimeTakeItAsTheTimelineSays) {
  for (const Kind kind : {Kind::OneFOneB, Kind::ZeroBubble, Kind::DualPipe, Kind::DualPipeV})
    for (const auto latency : {std::chrono::microseconds(100), std::chrono::microseconds(2500)}) {
      SCOPED_TRACE(dualpipe::to_string(kind));
      VirtualOptions options = unit_costs(kind, 4, 10);
      options.start_margin = std::chrono::seconds(1);
      const Outcome run =
          simulate(options, {.link = [&](int, int) { return comm::SimLink{latency}; }});
      ASSERT_EQ(run.error, "");
      const auto plan = plan_virtual(options.layout, options.times, true, latency);
      ASSERT_TRUE(plan);
      EXPECT_EQ(static_cast<double>(run.step.makespan_ns()), plan->timeline.makespan);
    }
}

VirtualOptions exchanging(Kind kind, int ranks, int micro_batches, int lanes, bool overlap) {
  VirtualOptions options = unit_costs(kind, ranks, micro_batches);
  options.layout.data = options.layout.expert = lanes;
  options.overlap = overlap;
  options.times.layers = 4;
  options.times.forward = options.times.backward_input = options.times.weight = milliseconds(8);
  options.times.exchange = milliseconds(12);  // 24 a pair, as its compute
  return options;
}

TEST(VirtualRank, ExchangesAsLongAsComputeAreHiddenAsPredictedAndAtLeastNinetyFivePercentOfThem) {
  for (const auto& [kind, ranks, micro_batches] :
       {std::tuple{Kind::DualPipe, 4, 12}, {Kind::DualPipeV, 2, 6}}) {
    SCOPED_TRACE(dualpipe::to_string(kind));
    const Outcome run = simulate(exchanging(kind, ranks, micro_batches, 2, true));
    expect_as_predicted(run, 2);
    double exchange = 0, exposed = 0;
    for (const VirtualRankStep& rank : run.step.ranks) {
      exchange += static_cast<double>(rank.pair_exchange_ns);
      exposed += static_cast<double>(rank.pair_exposed_ns);
    }
    EXPECT_EQ(exchange, 2 * run.plan.pairs.exchange);
    EXPECT_EQ(exposed, 2 * run.plan.pairs.exposed);
    EXPECT_GE(hidden_share(exchange, exposed), 0.95);
  }
}

TEST(VirtualRank, WithoutOverlapNothingIsHidden) {
  const Outcome run = simulate(exchanging(Kind::DualPipe, 4, 12, 2, false));
  expect_as_predicted(run, 2);
  for (const VirtualRankStep& rank : run.step.ranks) EXPECT_EQ(rank.exchange_ns, rank.exposed_ns);
  const Outcome with = simulate(exchanging(Kind::DualPipe, 4, 12, 2, true));
  EXPECT_LT(with.makespan(), 0.75 * run.makespan());
}

TEST(VirtualRank, AStopOfOneRankIsKnownToAllAfterTheStep) {
  comm::SimWorld world(2);
  world.run([&](const comm::SimWorld::Rank& self) {
    const auto rank =
        VirtualRank::create(self.transport, self.clock, unit_costs(Kind::OneFOneB, 2, 2));
    ASSERT_TRUE(rank) << rank.error().message;
    const auto step = (*rank)->step(self.rank == 1);
    ASSERT_TRUE(step);
    EXPECT_TRUE(step->stop_requested);
  });
}

/// Wakes everybody up three milliseconds too late.
class LateClock final : public Clock {
 public:
  Instant now() const override { return now_; }
  WallTime wall_now() const override { return WallTime(now_.time_since_epoch()); }
  void sleep_until(Instant then) override { now_ = std::max(now_, then + milliseconds(3)); }

 private:
  Instant now_{};
};

TEST(VirtualDevice, IsDoneOnTimeThoughItsWorkerOverslept) {
  LateClock clock;
  VirtualDevice device(clock);
  device.start(Instant{});
  device.compute(milliseconds(10));
  device.compute(milliseconds(10));
  EXPECT_EQ(device.free(), Instant(milliseconds(20)));
  EXPECT_EQ(device.tally().late, milliseconds(6));
  EXPECT_EQ(device.tally().end, Instant(milliseconds(23)));
}

TEST(VirtualDevice, WhatItHadToWaitForIsNotThereEarlier) {
  LateClock clock;
  VirtualDevice device(clock);
  device.start(Instant{});
  device.compute(milliseconds(10));
  device.waited();
  device.compute(milliseconds(10));
  EXPECT_EQ(device.free(), Instant(milliseconds(23)));
}

TEST(VirtualDevice, TheWireCarriesOneExchangeAtATime) {
  SimClock clock;
  VirtualDevice device(clock);
  device.start(Instant{});
  const Instant first = device.begin_exchange(milliseconds(5), true);
  const Instant second = device.begin_exchange(milliseconds(5), false);
  EXPECT_EQ(second, Instant(milliseconds(10)));
  device.compute(milliseconds(7));
  device.finish_exchange(device.free(), first, true);
  device.finish_exchange(device.free(), second, false);
  EXPECT_EQ(device.tally().pair_exposed, Duration(0));
  EXPECT_EQ(device.tally().exposed, milliseconds(3));
}

TEST(VirtualStage, AnothersActivationIsAnErrorThatNamesBoth) {
  SimClock clock;
  VirtualDevice device(clock);
  const auto transport = comm::make_self_transport();
  const comm::GroupSpec alone{"alone", {0}};
  const auto groups = transport->make_groups(std::span(&alone, 1));
  ASSERT_TRUE(groups);
  const VirtualTimes times = unit_costs(Kind::OneFOneB, 2, 4).times;
  const auto never = [](dualpipe::Pass, const dualpipe::Chunk&) { return false; };
  VirtualStage giver({0, 2, false}, times, device, *(*groups)[0], never);
  VirtualStage taker({1, 2, false}, times, device, *(*groups)[0], never);
  const auto begin = [&](int given, int taken) {
    const auto from = giver.outgoing(dualpipe::Pass::Forward, {0, 0, given});
    std::ranges::copy(from, taker.incoming(dualpipe::Pass::Forward, {0, 1, taken}).begin());
    const auto phases = taker.phases(dualpipe::Pass::Forward);
    return taker.begin(dualpipe::Pass::Forward, phases.front(), {0, 1, taken});
  };
  EXPECT_TRUE(begin(2, 2));
  const auto wrong = begin(3, 1);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, Code::Corrupt);
  EXPECT_NE(wrong.error().message.find(" 1 0 3 "), std::string::npos) << wrong.error().message;
  EXPECT_NE(wrong.error().message.find(" 1 0 1 "), std::string::npos) << wrong.error().message;
}

/// What each of two ranks is told when they were given different things to do.
std::vector<Error> errors_of(const VirtualOptions& a, const VirtualOptions& b) {
  std::vector<Error> errors(2, Error{Code::Internal, "none"});
  comm::SimWorld world(2);
  world.run([&](const comm::SimWorld::Rank& self) {
    const auto rank = VirtualRank::create(self.transport, self.clock, self.rank == 0 ? a : b);
    if (!rank) errors[static_cast<std::size_t>(self.rank)] = rank.error();
  });
  return errors;
}

TEST(Peers, OfAnotherScheduleAreRefusedOnEveryRankWithBothFingerprints) {
  const VirtualOptions mine = unit_costs(Kind::OneFOneB, 2, 4);
  VirtualOptions more = mine, plain = mine, other = mine;
  more.layout.micro_batches = 6;
  plain.overlap = false;
  other.layout.kind = Kind::ZBV;
  const std::vector<std::tuple<VirtualOptions, std::string, std::string>> cases = {
      {more, "4 micro-batches", "6 micro-batches"},
      {plain, "overlap on", "overlap off"},
      {other, "1f1b, pipeline 2", "zbv, pipeline 2"}};
  for (const auto& [theirs, ours, differs] : cases)
    for (const Error& error : errors_of(mine, theirs)) {
      EXPECT_EQ(error.code, Code::InvalidArgument);
      for (const std::string& part : {std::string("rank 0: weft "), std::string("rank 1: weft "),
                                      std::string("compiler"), ours, differs})
        EXPECT_NE(error.message.find(part), std::string::npos) << part << "\n" << error.message;
    }
}

}  // namespace
}  // namespace weft::runtime
