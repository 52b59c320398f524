#include "runtime/drift/drift.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/drift/phase_medians.h"
#include "runtime/drift/step_period.h"

namespace weft::runtime {
namespace {

using dualpipe::MeasuredStep;
using dualpipe::PhaseKind;
using dualpipe::PhaseStep;
using dualpipe::Record;
using testing::HasSubstr;

Record phase_record(int stage, const dualpipe::Phase& phase, bool backward, double seconds,
                    int action) {
  Record record;
  record.what = dualpipe::communicates(phase) ? Record::What::Exchange : Record::What::Phase;
  record.phase = static_cast<std::uint8_t>(phase.kind);
  record.part = static_cast<std::uint8_t>(phase.part);
  record.layer = static_cast<std::int16_t>(phase.layer);
  record.stage = static_cast<std::int16_t>(stage);
  record.backward = backward;
  record.begin_ns = 1000;
  record.end_ns = 1000 + static_cast<std::int64_t>(seconds * 1e9);
  record.action = action;
  record.pass = 0;
  record.program = dualpipe::Program::Train;
  return record;
}

MeasuredStep step_of(std::vector<std::vector<Record>> ranks) {
  MeasuredStep step;
  step.kind = dualpipe::Kind::OneFOneB;
  step.size = {static_cast<int>(ranks.size()), 2, 1};
  step.begin_ns = 0;
  step.end_ns = 2'000'000'000;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    dualpipe::RankStep& rank = step.ranks.emplace_back();
    rank.info.rank = rank.info.position = static_cast<int>(r);
    rank.recorded.closed = true;
    Record pass;
    pass.what = Record::What::Pass;
    pass.program = dualpipe::Program::Train;
    pass.pass = 0;
    rank.recorded.records = std::move(ranks[r]);
    rank.recorded.records.push_back(pass);
  }
  return step;
}

TEST(Drift, ComparesEachPhaseOfEachRankAndNamesTheSlowOne) {
  std::vector<std::vector<Record>> ranks(3);
  for (int r = 0; r < 3; ++r) {
    const double attention = r == 2 ? 0.03 : 0.01;
    ranks[r] = {
        phase_record(r, {PhaseKind::Attention, 0, dualpipe::Part::Whole}, false, attention, 0),
        phase_record(r, {PhaseKind::Experts, 0, dualpipe::Part::Weights}, true, 0.02, 1)};
  }
  const auto drift = compare(
      {step_of(ranks)}, [](int, const PhaseStep&, bool) { return 0.01; }, 1.5);
  ASSERT_TRUE(drift) << drift.error().message;
  ASSERT_EQ(drift->phases.size(), 2u);
  EXPECT_EQ(drift->phases[0].phase, "attention");
  EXPECT_NEAR(drift->phases[0].measured, 0.05, 1e-9);
  EXPECT_NEAR(drift->phases[0].predicted, 0.03, 1e-12);
  EXPECT_EQ(drift->phases[1].phase, "experts weights");
  EXPECT_NEAR(drift->phases[1].ratio(), 2, 1e-6);
  EXPECT_EQ(drift->ranks.size(), 6u);
  EXPECT_EQ(drift->slowest_rank, 2);
  EXPECT_NEAR(drift->slowest_ratio, 3, 1e-6);
  EXPECT_NEAR(drift->step_measured, 2, 1e-9);
  EXPECT_THAT(describe(*drift), HasSubstr("rank 2 takes 3.00 times as long"));
}

TEST(Drift, APhaseThatSomebodyInterruptedCountsAsItsPeers) {
  std::vector<Record> records;
  for (const double seconds : {0.01, 0.01, 0.5, 0.01, 0.01})
    records.push_back(
        phase_record(0, {PhaseKind::Attention, 0, dualpipe::Part::Whole}, false, seconds, 0));
  const auto drift = compare(
      {step_of({records})}, [](int, const PhaseStep&, bool) { return 0.01; }, 1);
  ASSERT_TRUE(drift) << drift.error().message;
  EXPECT_NEAR(drift->phases[0].measured, 0.05, 1e-9);
  EXPECT_THAT(summary(*drift), HasSubstr("predicted to take 1e+03 ms and takes 2e+03 ms (+100 %)"));
}

TEST(Drift, TheForwardThatPacksTheWeightsDoesNotStandForTheOther) {
  std::vector<MeasuredStep> steps;
  for (int i = 0; i < 3; ++i) {
    std::vector<Record> records;
    for (const double seconds : {0.05, 0.01})
      records.push_back(
          phase_record(0, {PhaseKind::Attention, 0, dualpipe::Part::Whole}, false, seconds, 0));
    steps.push_back(step_of({records}));
  }
  const auto drift = compare(
      steps, [](int, const PhaseStep&, bool) { return 0.01; }, 1);
  ASSERT_TRUE(drift) << drift.error().message;
  EXPECT_NEAR(drift->phases[0].measured, 3 * 0.06, 1e-9);
  EXPECT_NEAR(computing_seconds(steps), 0.02, 1e-9);
}

TEST(Drift, AStepsOnlyForwardIsAllThatIsKnownOfIt) {
  const auto step = step_of(
      {{phase_record(0, {PhaseKind::Attention, 0, dualpipe::Part::Whole}, false, 0.05, 0)}});
  EXPECT_NEAR(computing_seconds({step}), 0.05, 1e-9);
  EXPECT_EQ(computing_seconds({}), 0);
}

TEST(Drift, AnExchangeIsWhatItHoldsItsRankFor) {
  Record exchange = phase_record(0, {PhaseKind::Dispatch, 0, dualpipe::Part::Whole}, false, 0.9, 0);
  exchange.head_ns = 10'000'000;
  exchange.tail_ns = 20'000'000;
  const auto drift = compare(
      {step_of({{exchange}})}, [](int, const PhaseStep&, bool) { return 0.01; }, 1);
  ASSERT_TRUE(drift) << drift.error().message;
  EXPECT_NEAR(drift->phases[0].measured, 0.03, 1e-9);
}

TEST(Drift, KnowsWhichPhasesRanInAPair) {
  std::vector<Record> records = {
      phase_record(0, {PhaseKind::Dispatch, 0, dualpipe::Part::Whole}, false, 0.01, 4),
      phase_record(0, {PhaseKind::Dispatch, 0, dualpipe::Part::Whole}, false, 0.01, 5)};
  Record pair;
  pair.op = static_cast<std::uint8_t>(dualpipe::Op::FB);
  pair.action = 5;
  pair.pass = 0;
  pair.program = dualpipe::Program::Train;
  records.push_back(pair);
  const auto drift = compare(
      {step_of({records})}, [](int, const PhaseStep&, bool paired) { return paired ? 3.0 : 1.0; },
      0);
  ASSERT_TRUE(drift);
  EXPECT_NEAR(drift->phases[0].predicted, 4, 1e-12);
}

/// Steps that begin so many milliseconds after the one before.
std::vector<MeasuredStep> steps_apart(const std::vector<double>& milliseconds) {
  std::vector<MeasuredStep> steps;
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < milliseconds.size(); ++i) {
    begin += static_cast<std::int64_t>(milliseconds[i] * 1e6);
    MeasuredStep& step = steps.emplace_back();
    step.step = static_cast<long long>(i) + 1;
    step.begin_ns = begin;
    step.end_ns = begin + 1'000'000;
  }
  return steps;
}

TEST(StepPeriod, CountsWhatIsBetweenTwoSteps) {
  const StepPeriod period = step_period(steps_apart(std::vector<double>(33, 20)));
  EXPECT_EQ(period.steps, 32);
  EXPECT_NEAR(period.median, 0.02, 1e-12);
  EXPECT_NEAR(period.low, 0.02, 1e-12);
}

TEST(StepPeriod, AShortStepIsPaidForByTheNext) {
  std::vector<double> turns;
  for (int i = 0; i < 41; ++i) turns.push_back(i % 2 == 0 ? 10 : 30);
  EXPECT_NEAR(step_period(steps_apart(turns)).median, 0.02, 1e-12);
}

TEST(StepPeriod, AnEvaluationInBetweenDoesNotCount) {
  std::vector<double> all(41, 20);
  all[20] = 3000;
  EXPECT_NEAR(step_period(steps_apart(all)).median, 0.02, 1e-12);
}

TEST(StepPeriod, OnlyStepsOfOneStageThatFollowEachOtherAreLookedAt) {
  auto steps = steps_apart(std::vector<double>(41, 20));
  steps.erase(steps.begin() + 20);  // overwritten
  EXPECT_EQ(step_period(steps).steps, 16);
  for (std::size_t i = 0; i < 30; ++i) steps[i].stage = "pretrain";
  EXPECT_EQ(step_period(steps).steps, 8);
}

/// Each rank's training pass, from and to, in milliseconds.
MeasuredStep passes_at(long long number, const std::vector<std::pair<int, int>>& ranks) {
  MeasuredStep step;
  step.step = number;
  for (const auto& [begin, end] : ranks) {
    Record pass;
    pass.what = Record::What::Pass;
    pass.pass = 0;
    pass.program = dualpipe::Program::Train;
    pass.begin_ns = begin * 1'000'000;
    pass.end_ns = end * 1'000'000;
    step.ranks.emplace_back().recorded.records.push_back(pass);
  }
  return step;
}

TEST(StepPeriod, BetweenPassesCountsUntilTheLastRankHasBegun) {
  std::vector<MeasuredStep> steps = {passes_at(1, {{0, 10}, {1, 9}}),
                                     passes_at(2, {{11, 20}, {13, 20}}),
                                     passes_at(3, {{22, 30}, {23, 30}})};
  EXPECT_NEAR(seconds_between_passes(steps), 3e-3, 1e-12);
  steps[2].step = 4;  // one in between is not recorded
  EXPECT_NEAR(seconds_between_passes(steps), 3e-3, 1e-12);
  EXPECT_EQ(seconds_between_passes(std::span(steps).first(1)), 0);
}

TEST(StepPeriod, TooFewStepsSayNothing) {
  EXPECT_EQ(step_period({}).steps, 0);
  EXPECT_EQ(step_period(steps_apart({20, 20, 20})).steps, 0);
}

TEST(Drift, NothingRecordedIsSaid) {
  const auto drift = compare(
      {}, [](int, const PhaseStep&, bool) { return 1.0; }, 1);
  ASSERT_FALSE(drift);
  EXPECT_THAT(drift.error().message, HasSubstr("trace.steps"));
}

/// A cluster of slow GPUs, and a step recorded on it, to be explained by a faster description.
TEST(Drift, ACalibratedClusterPredictsWhatWasMeasured) {
  scheduler::Work work;
  work.model.layers = 2;
  work.model.dense_layers = 0;
  work.model.experts = 8;
  work.model.top_k = 2;
  work.layout = {dualpipe::Kind::OneFOneB, 2, 2, 2, 4};
  work.sequence = 512;
  scheduler::Cluster truth;
  truth.gpu.fp32.value = truth.gpu.bf16.value = 1e12;
  truth.gpu.memory_bandwidth.value = 1e12;
  truth.node.gpus.value = 4;
  truth.node.nvlink_bandwidth.value = 1e10;
  scheduler::Cluster told = truth;
  for (scheduler::Figure* rate : {&truth.kernels.gemm_bf16, &truth.kernels.attention_forward,
                                  &truth.kernels.attention_backward})
    rate->value = 0.5;
  truth.kernels.grouped_gemm_bf16.value = 0.3;
  const auto placement = scheduler::place(work.layout, work.model.layers);
  ASSERT_TRUE(placement);
  const auto stages = scheduler::stage_blocks(work.model, *placement);
  std::vector<std::vector<Record>> ranks(4);
  for (int r = 0; r < 4; ++r)
    for (const dualpipe::Pass pass : {dualpipe::Pass::Forward, dualpipe::Pass::Backward})
      for (const dualpipe::Phase& phase : scheduler::stage_phases(work, stages[r / 2], pass)) {
        const bool backward = pass == dualpipe::Pass::Backward;
        const double seconds =
            scheduler::phase_seconds(work, truth, stages[r / 2], {backward, phase}, false);
        ranks[r].push_back(phase_record(r / 2, phase, backward, seconds, 0));
      }
  const MeasuredStep step = step_of(ranks);
  const auto before = compare({step}, work, told);
  ASSERT_TRUE(before) << before.error().message;
  const auto corrected = calibrated({step}, work, told, "a run");
  ASSERT_TRUE(corrected) << corrected.error().message;
  const auto after = compare({step}, work, *corrected);
  ASSERT_TRUE(after);
  const auto worst = [](const Drift& drift) {
    double most = 0;
    for (const PhaseDrift& phase : drift.phases)
      if (phase.predicted > 0 && phase.phase.starts_with("experts"))
        most = std::max(most, std::abs(phase.ratio() - 1));
    return most;
  };
  EXPECT_GT(worst(*before), 0.2);
  EXPECT_LT(worst(*after), 0.1);
  EXPECT_THAT(corrected->kernels.grouped_gemm_bf16.source, HasSubstr("a run"));
}

/// A host whose steps take longer than their phases say.
TEST(Drift, ACalibratedHostKnowsWhatAStepTakesBesideItsPhases) {
  scheduler::Work work;
  work.model.layers = 2;
  work.model.experts = 0;
  work.layout = {dualpipe::Kind::OneFOneB, 1, 2, 1, 2};
  work.sequence = 64;
  work.precision = work.dispatch = scheduler::Precision::F32;
  scheduler::Cluster host;
  const auto figure = [](double value) { return scheduler::Figure{value, "test"}; };
  host.gpu.fp32 = host.gpu.bf16 = figure(1e11);
  host.gpu.memory_bandwidth = figure(1e11);
  host.kernels.gemm_fp32 = host.kernels.gemm_bf16 = figure(0.5);
  host.kernels.step = figure(1e-3);
  host.node.handover = figure(50e-6);
  host.node.gpus = figure(2);
  host.node.cores = figure(2);
  host.node.nvlink_bandwidth = figure(1e10);
  const auto placement = scheduler::place(work.layout, work.model.layers);
  ASSERT_TRUE(placement);
  const auto stages = scheduler::stage_blocks(work.model, *placement);
  const double predicted = scheduler::step_time(work, host)->total;
  std::vector<MeasuredStep> steps = steps_apart(std::vector<double>(17, 1e3 * predicted + 2));
  for (MeasuredStep& one : steps) {
    std::vector<std::vector<Record>> ranks(2);
    for (int r = 0; r < 2; ++r)
      for (const dualpipe::Pass pass : {dualpipe::Pass::Forward, dualpipe::Pass::Backward})
        for (const dualpipe::Phase& phase : scheduler::stage_phases(work, stages[0], pass)) {
          const bool backward = pass == dualpipe::Pass::Backward;
          ranks[r].push_back(phase_record(
              0, phase, backward,
              scheduler::phase_seconds(work, host, stages[0], {backward, phase}, false), 0));
        }
    const MeasuredStep recorded = step_of(ranks);
    one.kind = recorded.kind;
    one.size = recorded.size;
    one.closed = true;
    one.ranks = recorded.ranks;
  }
  const auto corrected = calibrated(steps, work, host, "a run");
  ASSERT_TRUE(corrected) << corrected.error().message;
  EXPECT_NEAR(corrected->kernels.step, 3e-3, 2e-5);
  EXPECT_THAT(corrected->kernels.step.source, HasSubstr("a run"));
  EXPECT_DOUBLE_EQ(corrected->kernels.gemm_bf16, 0.5);  // the run was in F32
  const auto left = not_calibrated(*corrected);
  EXPECT_THAT(left, testing::Contains("node.handover"));
  EXPECT_THAT(left, testing::Not(testing::Contains("kernels.step")));
}

}  // namespace
}  // namespace weft::runtime
