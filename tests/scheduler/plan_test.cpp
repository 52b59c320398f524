// Promises of planning that hold for any cluster; published systems are in runtime/plan_test.
#include <gtest/gtest.h>

#include <cmath>

#include "scheduler/memory/exchange_bytes.h"
#include "scheduler/plan/search.h"
#include "scheduler/plan/what_if.h"
#include "scheduler/time/exchange.h"
#include "scheduler/time/step_end.h"

namespace weft::scheduler {
namespace {

using dualpipe::Kind;

Cluster small_cluster() {
  Cluster c;
  c.name = "small";
  c.gpu.name = "G";
  const auto figure = [](double value) { return Figure{value, "test"}; };
  c.gpu.fp32 = figure(1e13);
  c.gpu.bf16 = figure(1e14);
  c.gpu.fp8 = figure(2e14);
  c.gpu.memory = figure(80e9);
  c.gpu.memory_bandwidth = figure(2e12);
  c.gpu.sms = figure(100);
  c.gpu.communication_sms = figure(20);
  c.gpu.power = figure(500);
  c.node.gpus = figure(8);
  c.node.nvlink_bandwidth = figure(2e11);
  c.node.nics = figure(8);
  c.node.nic_bandwidth = figure(5e10);
  c.node.power = figure(2000);
  c.nodes = figure(4);
  c.gpu_hour = figure(2);
  return c;
}

Work small_work(Kind kind = Kind::DualPipe) {
  Work w;
  w.model.layers = 8;
  w.model.dense_layers = 1;
  w.model.hidden = 1024;
  w.model.vocab = 32000;
  w.model.intermediate = 4096;
  w.model.moe_intermediate = 512;
  w.model.heads = 16;
  w.model.q_lora = 512;
  w.model.kv_lora = 256;
  w.model.nope = 64;
  w.model.rope = 32;
  w.model.value = 64;
  w.model.experts = 32;
  w.model.top_k = 4;
  w.model.shared = 1;
  w.model.groups = 4;
  w.model.top_groups = 2;
  w.layout = {kind, 4, 8, 8, 16};
  w.sequence = 2048;
  return w;
}

double seconds(const Work& work, const Cluster& cluster) {
  const auto step = step_time(work, cluster);
  EXPECT_TRUE(step) << step.error().message;
  return step ? step->total : 0;
}

TEST(Plan, AStepIsTheSumOfItsParts) {
  for (const Kind kind : {Kind::DualPipe, Kind::OneFOneB, Kind::ZeroBubble, Kind::DualPipeV}) {
    const auto s = step_time(small_work(kind), small_cluster());
    ASSERT_TRUE(s) << s.error().message;
    EXPECT_NEAR(
        s->total,
        s->forward + s->backward_input + s->backward_weight + s->pairs + s->bubble + s->optimizer(),
        1e-9 * s->total);
    EXPECT_GE(s->bubble, 0);
  }
}

TEST(Plan, NothingFasterMakesAStepSlower) {
  const Work work = small_work();
  const double now = seconds(work, small_cluster());
  for (const char* change : {"gpu.bf16=200TFLOP/s", "gpu.memory_bandwidth=4TB/s",
                             "node.nic_bandwidth=100GB/s", "node.nvlink_bandwidth=400GB/s",
                             "kernels.overhead=0s", "load_variation=0", "straggler=1"}) {
    Inputs inputs{work, small_cluster(), {}, 0};
    ASSERT_TRUE(apply_what_if(change, inputs)) << change;
    const auto then = step_time(inputs.work, inputs.cluster, inputs.assumptions);
    EXPECT_LE(then->total, now * (1 + 1e-12)) << change;
  }
}

TEST(Plan, OverlappingPairsHidesExchanges) {
  Work work = small_work();
  const auto on = step_time(work, small_cluster());
  work.overlap = false;
  const auto off = step_time(work, small_cluster());
  EXPECT_LT(on->exposed_exchange, off->exposed_exchange);
}

/// A CPU host: its workers share so many cores.
Cluster host_with_cores(double cores) {
  Cluster c = small_cluster();
  c.gpu.sms = c.gpu.communication_sms = {};
  c.nodes = {1, "test"};
  c.node.cores = {cores, "test"};
  c.node.crowding = {1.1, "test"};
  c.kernels.exchange = {1e-3, "test"};
  return c;
}

TEST(Plan, WorkersThatShareCoresTakeAboutAsLongAsAllTheirWork) {
  Work work = small_work();
  work.layout = {Kind::OneFOneB, 2, 4, 2, 8};
  const auto own = step_time(work, host_with_cores(8));
  const auto shared = step_time(work, host_with_cores(2));
  ASSERT_TRUE(own) << own.error().message;
  ASSERT_TRUE(shared) << shared.error().message;
  double busy = 0;
  for (const double seconds : shared->rank_busy) busy += 4 * seconds;
  // But for a little where a lane begins and ends.
  EXPECT_GE(shared->total - shared->optimizer(), busy / 2 - 1e-9);
  EXPECT_LE(shared->total - shared->optimizer(), 1.15 * busy / 2);
  EXPECT_NEAR(shared->optimizer(), 4 * own->optimizer(), 1e-9);
  // The busiest rank makes nobody wait whose core somebody else takes meanwhile.
  EXPECT_EQ(shared->imbalance, 1);
  EXPECT_GT(own->imbalance, 1);
}

TEST(Plan, OneLaneOfPositionsLeavesCoresIdleAndTwoLanesFillThem) {
  const Cluster host = host_with_cores(2);
  Work w = small_work();
  w.precision = w.dispatch = Precision::F32;
  w.layout = {Kind::OneFOneB, 4, 1, 1, 4};
  const auto one_lane = step_time(w, host);
  ASSERT_TRUE(one_lane) << one_lane.error().message;
  double busy = 0;
  for (const double seconds : one_lane->rank_busy) busy += seconds;
  const double makespan = one_lane->total - one_lane->optimizer();
  EXPECT_GT(makespan, busy / 2);
  EXPECT_LT(makespan, busy);

  Cluster slow = host;
  slow.node.wakeup = {1e-3, "test"};
  const auto waited = step_time(w, slow);
  ASSERT_TRUE(waited);
  EXPECT_GT(waited->total, one_lane->total + 1e-3);

  w.layout = {Kind::OneFOneB, 1, 4, 1, 4};
  const auto apart = step_time(w, host), unmoved = step_time(w, slow);
  ASSERT_TRUE(apart && unmoved);
  EXPECT_DOUBLE_EQ(apart->total, unmoved->total);
}

TEST(Plan, AWorkerWithACoreOfItsOwnTakesItsTimeToWakeToo) {
  Cluster host = host_with_cores(2);
  Work w = small_work();
  w.precision = w.dispatch = Precision::F32;
  w.layout = {Kind::OneFOneB, 2, 1, 1, 4};
  const auto at_once = step_time(w, host);
  host.node.idle_wakeup = {1e-3, "test"};
  const auto later = step_time(w, host);
  ASSERT_TRUE(at_once && later) << at_once.error().message;
  // There and back, at least once.
  EXPECT_GE(later->total, at_once->total + 2e-3);
  w.layout = {Kind::OneFOneB, 2, 2, 1, 4};
  const auto shared = step_time(w, host);
  host.node.idle_wakeup = {0, "test"};
  EXPECT_DOUBLE_EQ(shared->total, step_time(w, host)->total);
}

TEST(Plan, APrecisionsOwnFiguresReplaceTheUsualOnes) {
  Cluster host = host_with_cores(2);
  Work w = small_work();
  w.precision = Precision::BF16;
  w.layout = {Kind::OneFOneB, 1, 2, 1, 4};
  const double usual = step_time(w, host)->total;
  host.fp8.rows = {1e8, "test"};
  EXPECT_DOUBLE_EQ(step_time(w, host)->total, usual);
  host.bf16.rows = {1e8, "test"};
  EXPECT_GT(step_time(w, host)->total, usual);
  w.precision = w.dispatch = Precision::F32;
  const double wide = step_time(w, host)->total;
  host.bf16 = {};
  EXPECT_DOUBLE_EQ(step_time(w, host)->total, wide);
}

TEST(Plan, ACpuWorkerHidesNoExchange) {
  Work work = small_work();
  const auto step = step_time(work, host_with_cores(64));
  ASSERT_TRUE(step) << step.error().message;
  EXPECT_GT(step->exchange, 0);
  EXPECT_NEAR(step->exposed_exchange, step->exchange, 1e-12);
}

TEST(Plan, ExpertsOnOneRankExchangeNothing) {
  Work work = small_work();
  work.layout.expert = 1;
  const auto step = step_time(work, small_cluster());
  EXPECT_EQ(step->exchange, 0);
  EXPECT_EQ(step->imbalance, 1);
}

TEST(Plan, ATokenVisitsAtMostTheNodesOfItsGroups) {
  Work work = small_work();
  work.layout = {Kind::DualPipe, 2, 32, 32, 8};
  const Cluster cluster = small_cluster();
  EXPECT_EQ(exchange_nodes(work, cluster), 4);
  const ExchangeCost cost = exchange_cost(work, cluster, Direction::Dispatch, 1);
  EXPECT_GT(cost.copies, 1);
  EXPECT_LE(cost.copies, 2);  // two of four groups, a node each
}

TEST(Plan, ImbalanceFallsWithMoreSequencesAndAlmostVanishesWithoutVariation) {
  Work work = small_work();
  const double few = expected_imbalance(work, 0.7);
  work.micro_batch_sequences = 16;
  EXPECT_LT(expected_imbalance(work, 0.7), few);
  EXPECT_GT(expected_imbalance(work, 0.7), 1);
  EXPECT_LT(expected_imbalance(work, 0), 1.01);
}

TEST(Plan, MemoryShrinksWithRecomputationWhereNoWeightGradientWaits) {
  Work work = small_work(Kind::OneFOneB);
  const auto bytes = [&](Recompute recompute) {
    work.recompute = recompute;
    return (*rank_bytes(work, small_cluster()))[0].activations;
  };
  EXPECT_LT(bytes(Recompute::MlaUp), bytes(Recompute::None));
  EXPECT_LT(bytes(Recompute::Full), bytes(Recompute::MlaUp));
}

TEST(Plan, DualPipeHoldsBothCopiesOfTheParameters) {
  const auto one = rank_bytes(small_work(Kind::OneFOneB), small_cluster());
  const auto two = rank_bytes(small_work(Kind::DualPipe), small_cluster());
  double single = 0, both = 0;
  for (const RankBytes& b : *one) single += b.weights;
  for (const RankBytes& b : *two) both += b.weights;
  EXPECT_NEAR(both, 2 * single, 1e-9 * both);
}

TEST(Plan, RedundantExpertsOfRolloutTakeMemory) {
  Work work = small_work(Kind::OneFOneB);
  const auto none = rank_bytes(work, small_cluster());
  work.redundant_experts = 3;
  const auto some = rank_bytes(work, small_cluster());
  for (std::size_t p = 0; p < some->size(); ++p) {
    const int moe = p == 0 ? 1 : 2;  // of the position's two layers
    const double bytes = 3.0 * moe * work.model.expert() * 2;
    EXPECT_DOUBLE_EQ((*some)[p].replicas, bytes) << p;
    EXPECT_NEAR((*some)[p].total() - (*none)[p].total(), bytes, 1) << p;
  }
}

TEST(Plan, TheCacheOfRolloutComesOnTopOfACpusMemoryAndIntoAGpusPool) {
  Work work = small_work(Kind::OneFOneB);
  const auto more = [&](const Cluster& cluster) {
    work.rollout_sequences = 0;
    const double without = (*rank_bytes(work, cluster))[0].total();
    work.rollout_sequences = 64;
    work.rollout_tokens = 128;
    const RankBytes with = (*rank_bytes(work, cluster))[0];
    EXPECT_GT(with.kv_cache, 0);
    return (with.total() - without) / with.kv_cache;
  };
  EXPECT_NEAR(more(Cluster{}), 1, 1e-9);
  EXPECT_LT(more(small_cluster()), 1);
}

TEST(Plan, ATokenReachesARankOnceHoweverManyOfItsExpertsItChose) {
  Work work = small_work();
  work.model.experts = 8;
  work.model.groups = work.model.top_groups = 1;
  work.layout.expert = 2;
  const double tokens = work.micro_batch_tokens();
  work.model.top_k = 1;
  EXPECT_NEAR(received_rows(work), tokens, 1e-9 * tokens);
  work.model.top_k = 2;  // both on one rank: 2 * (4 * 3) / (8 * 7) of the tokens
  EXPECT_NEAR(received_rows(work), tokens * (2 - 24.0 / 56), 1e-9 * tokens);
  work.model.top_k = 5;
  EXPECT_NEAR(received_rows(work), 2 * tokens, 1e-9 * tokens);
  work.model.top_k = 2;
  work.model.groups = 4;
  work.model.top_groups = 2;  // both groups on one rank: a third; else both experts in one: a third
  EXPECT_NEAR(received_rows(work), tokens * (2 - (1.0 / 3 + 2.0 / 3 / 3)), 1e-9 * tokens);
}

TEST(Plan, CollectivesGoInsideTheNodeFirst) {
  const Cluster c = small_cluster();
  EXPECT_EQ(collective_seconds(1e9, 1, 1, c), 0);
  EXPECT_NEAR(collective_seconds(8e9, 8, 8, c), 7e9 / 2e11, 1e-9);
  EXPECT_NEAR(collective_seconds(8e9, 16, 8, c), 7e9 / 2e11 + 0.5e9 / 5e10, 1e-9);
  EXPECT_LT(collective_seconds(8e9, 16, 8, c), collective_seconds(8e9, 16, 1, c));
}

TEST(Plan, WhatDoesNotFitSaysWhy) {
  Work work = small_work();
  work.layout.data = 16;  // 64 GPUs of 32
  const auto plan = predict(work, small_cluster());
  ASSERT_TRUE(plan);
  EXPECT_FALSE(plan->fits);
  ASSERT_FALSE(plan->problems.empty());
  EXPECT_NE(plan->problems[0].find("needs 64 GPUs, the cluster has 32"), std::string::npos);
  Cluster tight = small_cluster();
  work = small_work();
  tight.gpu.memory = {predict(work, tight)->peak_bytes() * 0.9, "test"};
  const auto full = predict(work, tight);
  EXPECT_FALSE(full->fits);
  EXPECT_NE(full->problems[0].find("a GPU, G has"), std::string::npos) << full->problems[0];
}

TEST(Plan, FailuresCostTheirRestartsAndHalfAnInterval) {
  Cluster c = small_cluster();
  Work work = small_work();
  work.steps = 1000;
  work.checkpoint_every = 10;
  const RunCost calm = run_cost(work, c, 10, 1, 4);
  EXPECT_DOUBLE_EQ(calm.seconds, 1000 * 10 + 100 * 1);
  EXPECT_DOUBLE_EQ(calm.gpu_hours, calm.seconds / 3600 * 32);
  EXPECT_DOUBLE_EQ(calm.dollars, 2 * calm.gpu_hours);
  EXPECT_DOUBLE_EQ(calm.kilowatt_hours, calm.seconds / 3600 * (32 * 0.5 + 4 * 2));
  c.node_mtbf = {4 * 1000, "test"};  // one each 1000 s
  c.restart = {50, "test"};
  const RunCost rough = run_cost(work, c, 10, 1, 4);
  EXPECT_NEAR(rough.failures, rough.seconds / 1000, 1e-6);
  EXPECT_NEAR(rough.lost, rough.failures * (50 + 50), 1e-6);
  EXPECT_LT(rough.seconds_low, rough.seconds);
  EXPECT_GT(rough.seconds_high, rough.seconds);
  EXPECT_NEAR(rough.goodput(), 10000 / rough.seconds, 1e-12);
}

TEST(Plan, PublishedCostsFollowFromTheirHours) {
  // DeepSeek-R1, Methods: 512 H800 for 198 h and 80 h, and 5K GPU-hours of data, at $2.
  Cluster c = small_cluster();
  Work work = small_work();
  work.layout.data = 512 / work.layout.pipeline;
  work.steps = 1;
  const RunCost zero = run_cost(work, c, 198 * 3600, 0, 64),
                r1 = run_cost(work, c, 80 * 3600, 0, 64);
  EXPECT_NEAR(zero.gpu_hours / 1e3, 101, 0.5);
  EXPECT_NEAR(r1.gpu_hours / 1e3, 41, 0.5);
  EXPECT_NEAR((zero.gpu_hours + r1.gpu_hours) / 1e3 + 5, 147, 0.5);
  EXPECT_NEAR((zero.dollars + r1.dollars) / 1e3 + 10, 294, 2);
}

TEST(Plan, SearchKeepsTheBatchAndTheGpusAndFindsTheJobsOwnLayoutOrABetter) {
  const Work work = small_work();
  const Cluster cluster = small_cluster();
  const auto result = search(work, cluster);
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_FALSE(result->best.empty());
  EXPECT_LE(result->best.size(), 10u);
  EXPECT_LE(result->best[0].step_seconds, seconds(work, cluster) * (1 + 1e-9));
  for (std::size_t i = 0; i < result->best.size(); ++i) {
    const Candidate& c = result->best[i];
    EXPECT_EQ(c.work.layout.world(), work.layout.world());
    EXPECT_DOUBLE_EQ(c.work.step_sequences(), work.step_sequences());
    EXPECT_LE(c.peak_bytes, cluster.gpu.memory);
    if (i > 0) {
      EXPECT_GE(c.step_seconds, result->best[i - 1].step_seconds);
    }
    if (c.dominated_by >= 0) {
      EXPECT_LE(result->best[static_cast<std::size_t>(c.dominated_by)].peak_bytes, c.peak_bytes);
    }
  }
}

TEST(Plan, SearchSaysWhenNothingFits) {
  Cluster cluster = small_cluster();
  cluster.gpu.memory = {1e8, "test"};
  const auto result = search(small_work(), cluster);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("the smallest needs"), std::string::npos);
}

TEST(Plan, WhatIfGivesUpLanesWithTheirNodes) {
  Inputs inputs{small_work(), small_cluster(), {}, 0};
  inputs.work.layout.expert = 4;
  const auto follows = apply_what_if("nodes=-2,expert=+0,checkpoint=5m", inputs);
  ASSERT_TRUE(follows) << follows.error().message;
  EXPECT_EQ(inputs.cluster.num_nodes(), 2);
  EXPECT_EQ(inputs.work.layout.data, 4);
  EXPECT_DOUBLE_EQ(inputs.work.step_sequences(), small_work().step_sequences());
  EXPECT_EQ(follows->size(), 2u);
  EXPECT_EQ(inputs.checkpoint_seconds, 300);
}

TEST(Plan, WhatIfRefusesWhatItDoesNotKnow) {
  for (const auto& [text, hint] :
       std::vector<std::pair<std::string, std::string>>{{"node=3", "did you mean 'nodes'?"},
                                                        {"nodes", "is not KEY=VALUE"},
                                                        {"nodes=0", "from 1 to"},
                                                        {"nodes=-9", "and there are 4"},
                                                        {"expert=2.5", "whole number"},
                                                        {"checkpoint=5", "with its unit"},
                                                        {"schedule=best", "best"},
                                                        {"gpu.memory=0 GB", "more than 0"},
                                                        {"gpu.memory=96", "has no unit"}}) {
    Inputs inputs{small_work(), small_cluster(), {}, 0};
    const auto result = apply_what_if(text, inputs);
    ASSERT_FALSE(result) << text;
    EXPECT_NE(result.error().message.find(hint), std::string::npos) << result.error().message;
  }
}

}  // namespace
}  // namespace weft::scheduler
