#include "runtime/cluster/fit_runs.h"

#include <gtest/gtest.h>

#include <vector>

#include "runtime/cluster/least_squares.h"
#include "scheduler/time/step_time.h"

namespace weft::runtime {
namespace {

using scheduler::Cluster;
using scheduler::Figure;
using scheduler::Work;

TEST(LeastSquares, FindsWhatTheObservationsAgreeOn) {
  const auto x = least_squares({{{1, 0}, 2}, {{0, 1}, 3}, {{1, 1}, 5}}, {0, 0});
  EXPECT_NEAR(x[0], 2, 1e-9);
  EXPECT_NEAR(x[1], 3, 1e-9);
}

TEST(LeastSquares, NeverGoesBelowABound) {
  const auto x = least_squares({{{1, 1}, 1}, {{1, 2}, 0}}, {0, 0.25});
  EXPECT_GE(x[0], 0);
  EXPECT_DOUBLE_EQ(x[1], 0.25);
}

TEST(LeastSquares, AnObservationCountsByItsWeight) {
  const auto x = least_squares({{{1}, 1, 10}, {{1}, 2, 1}}, {0});
  EXPECT_NEAR(x[0], (100 * 1 + 2) / 101.0, 1e-9);
}

TEST(LeastSquares, WhatNobodySpeaksOfStaysAtItsBound) {
  EXPECT_DOUBLE_EQ(least_squares({{{1, 0}, 4}}, {0, 7})[1], 7);
}

/// Four workers on two cores.
Cluster host() {
  Cluster c;
  const auto figure = [](double value) { return Figure{value, "test"}; };
  c.name = "host";
  c.gpu.fp32 = c.gpu.bf16 = figure(100e9);
  c.gpu.memory = figure(6e9);
  c.gpu.memory_bandwidth = figure(80e9);
  c.kernels.attention_forward = c.kernels.attention_backward = figure(0.25);
  c.kernels.weights = figure(30e9);
  c.kernels.softmax = figure(20e9);
  c.kernels.update = figure(110e9);
  c.kernels.touch = figure(2e9);
  c.kernels.exchange = figure(20e-6);
  c.kernels.step = figure(300e-6);
  c.node.gpus = figure(4);
  c.node.cores = figure(2);
  c.exchange = {{2, figure(4e9), figure(4e9)}};
  c.node.crowding = figure(1.05);
  c.node.nvlink_bandwidth = figure(3e9);
  c.nodes = figure(1);
  return c;
}

Work work_of_size(int hidden, int layers, scheduler::Layout layout) {
  Work w;
  w.model.layers = layers;
  w.model.dense_layers = 1;
  w.model.hidden = hidden;
  w.model.vocab = 384;
  w.model.intermediate = 2 * hidden;
  w.model.moe_intermediate = 3 * hidden / 4;
  w.model.heads = 8;
  w.model.q_lora = w.model.kv_lora = 64;
  w.model.nope = w.model.rope = w.model.value = 16;
  w.model.experts = 8;
  w.model.top_k = 2;
  w.model.shared = 1;
  w.layout = layout;
  w.sequence = 30;
  w.micro_batch_sequences = 2;
  w.precision = w.dispatch = scheduler::Precision::F32;
  return w;
}

using dualpipe::Kind;
const std::vector<Work> kWorks = {work_of_size(112, 3, {Kind::OneFOneB, 1, 1, 1, 4}),
                                  work_of_size(112, 4, {Kind::OneFOneB, 2, 1, 1, 6}),
                                  work_of_size(96, 3, {Kind::OneFOneB, 1, 2, 1, 4}),
                                  work_of_size(160, 3, {Kind::OneFOneB, 1, 2, 2, 4}),
                                  work_of_size(160, 2, {Kind::OneFOneB, 1, 4, 1, 2}),
                                  work_of_size(96, 4, {Kind::OneFOneB, 1, 4, 2, 2}),
                                  work_of_size(224, 3, {Kind::OneFOneB, 1, 4, 2, 1}),
                                  work_of_size(96, 4, {Kind::DualPipe, 2, 2, 2, 4}),
                                  work_of_size(144, 3, {Kind::OneFOneB, 1, 2, 1, 2}),
                                  work_of_size(112, 4, {Kind::OneFOneB, 4, 1, 1, 6})};

double seconds_on(const Cluster& cluster, const Work& work) {
  const auto time = scheduler::step_time(work, cluster);
  EXPECT_TRUE(time) << time.error().message;
  return time ? time->total : 0;
}

std::vector<RunStep> runs_on(const Cluster& cluster) {
  std::vector<RunStep> runs;
  for (const Work& work : kWorks)
    runs.push_back({work, seconds_on(cluster, work), 0, cluster.kernels.step});
  return runs;
}

/// As `host`, but runs cost more than its kernels say.
Cluster slower_host() {
  Cluster c = host();
  slow_down(c, 1.2);
  c.node.crowding.value = 1.3;
  c.kernels.exchange.value = 30e-6;
  c.node.handover.value = 60e-6;
  c.node.wakeup.value = 150e-6;
  c.node.idle_wakeup.value = 80e-6;
  c.kernels.step.value = 1.2e-3;
  return c;
}

TEST(FitRuns, SayWhatTheRunsTookAndWhatOthersOfThatMachineWould) {
  Cluster cluster = host();
  const auto ratios = fit_runs(runs_on(slower_host()), cluster);
  ASSERT_EQ(ratios.size(), kWorks.size());
  for (const double ratio : ratios) EXPECT_NEAR(ratio, 1, 0.02);
  for (const Work& other : {work_of_size(128, 2, {Kind::DualPipe, 2, 2, 2, 4}),
                            work_of_size(192, 4, {Kind::OneFOneB, 1, 4, 4, 3}),
                            work_of_size(128, 4, {Kind::OneFOneB, 4, 1, 1, 6})})
    EXPECT_NEAR(seconds_on(cluster, other) / seconds_on(slower_host(), other), 1, 0.05);
}

TEST(FitRuns, WhatPhasesTookSaysHowMuchSlowerKernelsAre) {
  std::vector<RunStep> runs = runs_on(slower_host());
  for (RunStep& run : runs) {
    const auto time = scheduler::step_time(run.work, slower_host());
    ASSERT_TRUE(time);
    run.computing =
        time->forward + time->backward_input + time->backward_weight + time->pairs - time->exchange;
  }
  Cluster cluster = host();
  const auto ratios = fit_runs(runs, cluster);
  ASSERT_EQ(ratios.size(), runs.size());
  for (const double ratio : ratios) EXPECT_NEAR(ratio, 1, 0.02);
  EXPECT_NEAR(host().gpu.fp32 / cluster.gpu.fp32, 1.2, 0.04);
}

TEST(FitRuns, AStepsOwnPartStaysNearWhatLiesBetweenPassesWhereNobodySharesACore) {
  std::vector<RunStep> runs = runs_on(slower_host());
  for (RunStep& run : runs) run.between = run.work.layout.world() <= 2 ? 2e-3 : 9e-3;
  Cluster cluster = host();
  ASSERT_FALSE(fit_runs(runs, cluster).empty());
  EXPECT_NEAR(cluster.kernels.step, 2e-3, 0.5e-3);
}

TEST(FitRuns, TheSlowerOfTwoRunsOfAShapeCountsLess) {
  std::vector<RunStep> runs = {{{}, 0.020}, {{}, 0.030}, {{}, 0.030}, {{}, 0.0301}};
  weigh_repeated(runs, 2);
  EXPECT_DOUBLE_EQ(runs[0].weight, 1);
  EXPECT_NEAR(runs[2].weight, 0.06, 1e-9);
  EXPECT_DOUBLE_EQ(runs[1].weight, 1);
  EXPECT_DOUBLE_EQ(runs[3].weight, 1);
}

TEST(FitRuns, EachPrecisionsRatesAreScaled) {
  Cluster cluster = slower_host();
  cluster.bf16.rows = {10e9, "test"};
  cluster.fp8.overhead = {1e-6, "test"};
  slow_down(cluster, 2);
  EXPECT_DOUBLE_EQ(cluster.bf16.rows, 5e9);
  EXPECT_DOUBLE_EQ(cluster.fp8.overhead, 2e-6);
}

TEST(FitRuns, AMachineThatIsAsItsKernelsSayStaysAsItIs) {
  Cluster cluster = host();
  ASSERT_FALSE(fit_runs(runs_on(host()), cluster).empty());
  EXPECT_NEAR(cluster.gpu.fp32 / host().gpu.fp32, 1, 0.01);
  EXPECT_NEAR(cluster.node.crowding, host().node.crowding, 0.01);
}

TEST(FitRuns, OneRunThatSomebodyDisturbedHardlyMovesTheOthers) {
  std::vector<RunStep> runs = runs_on(slower_host());
  const std::vector<RunStep> again = runs;
  runs.insert(runs.end(), again.begin(), again.end());
  runs[3].seconds *= 1.5;
  Cluster cluster = host();
  const auto ratios = fit_runs(runs, cluster);
  ASSERT_EQ(ratios.size(), runs.size());
  for (std::size_t i = 0; i < runs.size(); ++i)
    if (i != 3) {
      EXPECT_NEAR(ratios[i], 1, 0.06) << i;
    }
}

TEST(FitRuns, ChangedFiguresSayWhereTheyComeFrom) {
  Cluster cluster = host();
  ASSERT_FALSE(fit_runs(runs_on(slower_host()), cluster).empty());
  EXPECT_NE(cluster.kernels.step.source.find("small runs"), std::string::npos);
  EXPECT_EQ(cluster.gpu.fp32.source, "test; scaled by small runs");
  EXPECT_GE(cluster.node.crowding, 1);
}

TEST(FitRuns, ARunThatTheModelHasNoAnswerForChangesNothing) {
  std::vector<RunStep> runs = runs_on(host());
  runs[0].work.layout.kind = Kind::DualPipe;
  runs[0].work.layout.pipeline = 3;  // DualPipe's are even
  Cluster cluster = host();
  EXPECT_TRUE(fit_runs(runs, cluster).empty());
  EXPECT_EQ(cluster, host());
}

}  // namespace
}  // namespace weft::runtime
