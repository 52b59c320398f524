// A rehearsal runs the real decisions; here a small one: 8 ranks on 4 nodes of 2 devices and
// spares.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "runtime/rehearse/rehearsal.h"
#include "runtime/sim/event_queue.h"
#include "tests/scratch.h"
#include "trainer/checkpoint/checkpoint.h"

namespace weft::runtime {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

Job small_job() {
  Job job;
  job.name = "small";
  job.data.task = "files";
  job.data.context = 64;
  job.parallel.pipeline = 4;
  job.parallel.data = 2;
  job.parallel.expert = 2;
  job.parallel.schedule = "dualpipe";
  job.parallel.micro_batches = 8;
  job.pretrain.steps = 100000;
  job.pretrain.batch = 16;
  job.checkpoint.every_steps = 20;
  return job;
}

scheduler::Cluster small_cluster() {
  scheduler::Cluster cluster;
  cluster.name = "small";
  cluster.node.gpus.value = 2;
  cluster.nodes.value = 8;
  cluster.restart.value = 20;
  return cluster;
}

StepModel times(const Job& job) {
  StepCosts costs;
  costs.basis = "a test";
  auto model =
      StepModel::create({dualpipe::Kind::DualPipe, job.parallel.pipeline, job.parallel.data,
                         job.parallel.expert, job.parallel.micro_batches},
                        costs);
  EXPECT_TRUE(model);
  return std::move(*model);
}

RehearsalResult rehearsed(const fs::path& directory, const RehearsalOptions& options,
                          const Job& job = small_job()) {
  sim::SimulatedClock clock(WallTime(std::chrono::seconds(1767225600)));
  auto store = RunStore::open(directory, clock);
  EXPECT_TRUE(store);
  const auto result = rehearse(job, small_cluster(), options, times(job), **store, clock, {});
  EXPECT_TRUE(result) << result.error().message;
  return result ? *result : RehearsalResult{};
}

std::vector<json> lines(const fs::path& path) {
  const auto read = read_json_lines(path);
  EXPECT_TRUE(read);
  return read ? *read : std::vector<json>{};
}

RehearsalOptions with(std::vector<Fault> faults, double horizon) {
  RehearsalOptions options;
  options.horizon = horizon;
  options.spares = 2;
  options.faults = std::move(faults);
  return options;
}

Fault fault(FaultKind kind, double at, int node = 0, int device = 0, double length = 0,
            double factor = 1) {
  return {at, kind, node, device, length, factor};
}

/// Every kind of fault; node 0 leads, nodes 2 to 4 have ranks.
std::vector<Fault> everything() {
  return {fault(FaultKind::WorkerCrash, 120, 2, 1),
          fault(FaultKind::Hang, 240, 3, 0),
          fault(FaultKind::CorruptCheckpoint, 330),
          fault(FaultKind::NodeDeath, 400, 4, 0, 200),
          fault(FaultKind::Straggler, 600, 3, 1, 60, 1.5),
          fault(FaultKind::LinkFlap, 700, 2, 0, 5),
          fault(FaultKind::LinkFlap, 760, 2, 0, 90),
          fault(FaultKind::Imbalance, 950, 0, 0, 60, 1.4),
          fault(FaultKind::NodeDeath, 1040, 0, 0, 1000)};
}

std::string text_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(Rehearsal, EveryKindOfFaultIsSurvivedAndEverySecondAndStepIsCountedOnce) {
  const test::Scratch scratch;
  const RunPaths paths{scratch.path() / "run"};
  const RehearsalResult result = rehearsed(paths.root, with(everything(), 1200));
  EXPECT_EQ(result.state, RunState::Stopped) << result.reason;
  EXPECT_EQ(result.faults, 9);
  EXPECT_GE(result.generations, 5);
  EXPECT_EQ(result.terms, 2) << "the leader's host died";
  EXPECT_NEAR(result.goodput.elapsed(), result.simulated_seconds, 1e-3);
  for (const Loss loss : {Loss::Restart, Loss::LostWork, Loss::Checkpoint, Loss::Straggler,
                          Loss::Hang, Loss::Imbalance, Loss::Network})
    EXPECT_GT(result.goodput.lost(loss), 0) << to_string(loss);
  long long expected = 0;
  for (const json& record : lines(paths.metrics())) {
    EXPECT_EQ(record["step"], ++expected);
    EXPECT_EQ(record["synthetic"], true);
  }
  EXPECT_EQ(expected, result.steps);
  for (const json& record : lines(paths.events())) {
    EXPECT_EQ(record["synthetic"], true) << record.dump();
    EXPECT_THAT(record["message"].get<std::string>(), HasSubstr("[synthetic]"));
  }
}

TEST(Rehearsal, ADamagedCheckpointIsFoundByItsHashAndAnOlderOneIsTaken) {
  const test::Scratch scratch;
  const RunPaths paths{scratch.path() / "run"};
  rehearsed(paths.root, with({fault(FaultKind::CorruptCheckpoint, 150),
                              fault(FaultKind::CorruptCheckpoint, 150),
                              fault(FaultKind::WorkerCrash, 190, 2, 0)},
                             260));
  bool skipped = false;
  std::vector<long long> resumed;
  for (const json& event : lines(paths.events())) {
    skipped |= event["kind"] == "skipped_checkpoint";
    if (event["kind"] == "resumed") resumed.push_back(event["step"]);
  }
  EXPECT_TRUE(skipped);
  ASSERT_EQ(resumed.size(), 1u);
  EXPECT_EQ(resumed[0] % 20, 0);
}

TEST(Rehearsal, TheSameSeedGivesTheSameDirectory) {
  const test::Scratch scratch;
  for (const char* name : {"a", "b"})
    rehearsed(
        scratch.path() / name / "run",
        with({fault(FaultKind::WorkerCrash, 60, 2, 1), fault(FaultKind::Imbalance, 80)}, 120));
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(scratch.path() / "a")) {
    if (!entry.is_regular_file() || entry.path().filename() == "lock") continue;  // has a pid
    const fs::path other = scratch.path() / "b" / fs::relative(entry.path(), scratch.path() / "a");
    EXPECT_EQ(text_of(entry.path()), text_of(other)) << other;
    ++files;
  }
  EXPECT_GT(files, 5);
}

TEST(Rehearsal, ARecipeThatEndsFinishesWithItsLastStepSaved) {
  const test::Scratch scratch;
  RehearsalOptions options = with({}, 86400);
  options.steps = 50;
  const RehearsalResult result = rehearsed(scratch.path() / "run", options);
  EXPECT_EQ(result.state, RunState::Finished) << result.reason;
  EXPECT_EQ(result.steps, 50);
  const auto choice = trainer::checkpoint::newest_complete(scratch.path() / "run" / "ckpt",
                                                           trainer::checkpoint::Mode::Full);
  ASSERT_TRUE(choice && choice->chosen);
  EXPECT_EQ(choice->chosen->step, 50u);
}

TEST(Rehearsal, RewardsAndCompletionsOfAReinforcementStageAreMarkedToo) {
  const test::Scratch scratch;
  Job job = small_job();
  job.recipe = {"pretrain", "grpo"};
  job.pretrain.steps = 5;
  job.grpo.steps = 20;
  const RehearsalResult result = rehearsed(scratch.path() / "run", with({}, 86400), job);
  EXPECT_EQ(result.state, RunState::Finished);
  const RunPaths paths{scratch.path() / "run"};
  const std::vector<json> metrics = lines(paths.metrics());
  ASSERT_EQ(metrics.size(), 25u);
  EXPECT_EQ(metrics[4]["stage"], "pretrain");
  EXPECT_EQ(metrics[5]["stage_step"], 1);
  EXPECT_GT(metrics.back()["reward"].get<double>(), metrics[5]["reward"].get<double>());
  ASSERT_FALSE(sample_steps(paths).empty());
  for (const json& sample : lines(paths.samples() / "25.jsonl")) {
    EXPECT_EQ(sample["synthetic"], true);
    EXPECT_THAT(sample["completion"].get<std::string>(), HasSubstr("synthetic"));
  }
}

TEST(StepModel, OneSlowDeviceSlowsThePipelinesOfItsExpertGroupByItsPosition) {
  StepModel model = times(small_job());
  const double slow = model.seconds(std::vector<double>{1, 1.5, 1, 1});
  EXPECT_GT(slow, model.seconds());
  EXPECT_LT(slow, 1.5 * model.seconds() + 1e-9);
  EXPECT_DOUBLE_EQ(model.seconds(std::vector<double>{1, 1, 1, 1}), model.seconds());
}

TEST(Faults, AreAFunctionOfTheSeedAndCountAsTheirRatesSay) {
  scheduler::Cluster cluster = small_cluster();
  cluster.nodes.value = 256;
  cluster.node_mtbf.value = 6330 * 3600.0;
  const FaultGrid grid{256, 8, 30 * 86400.0};
  const std::vector<Fault> faults = draw_faults(rates_of(cluster), grid, 7);
  EXPECT_EQ(faults, draw_faults(rates_of(cluster), grid, 7));
  EXPECT_NE(faults, draw_faults(rates_of(cluster), grid, 8));
  int stops = 0;
  for (const Fault& one : faults) {
    EXPECT_LT(one.node, 256);
    EXPECT_LT(one.device, 8);
    stops += one.kind == FaultKind::NodeDeath || one.kind == FaultKind::WorkerCrash ||
             one.kind == FaultKind::Hang;
  }
  EXPECT_NEAR(stops, 29, 16);  // 256 nodes x 720 h / 6330 h; three standard deviations
}

TEST(Faults, AScriptIsReadAndEverythingWrongInItIsSaidAtOnce) {
  const FaultGrid grid{8, 2, 86400};
  const FaultScript good = parse_fault_script(
      "- {at: 5h 30m, kind: straggler, node: 3, device: 1, factor: 1.3, for: 40m}\n"
      "- {at: 2h, kind: node_death, node: 7}\n",
      "faults.yaml", grid);
  ASSERT_TRUE(good.ok());
  ASSERT_EQ(good.faults.size(), 2u);
  EXPECT_EQ(good.faults[0].kind, FaultKind::NodeDeath);
  EXPECT_EQ(good.faults[1], fault(FaultKind::Straggler, 19800, 3, 1, 2400, 1.3));
  const FaultScript bad = parse_fault_script(
      "- {at: soon, kind: node_deth, node: 9}\n- {kind: hang, colour: red}\n- 7\n", "faults.yaml",
      grid);
  const std::string said = print(bad.diagnostics);
  for (const char* part :
       {"faults.yaml:1", "node_deth", "below 8", "at is missing", "colour", "a group of values"})
    EXPECT_THAT(said, HasSubstr(part));
}

TEST(Goodput, RollingBackTurnsStepsIntoLostWork) {
  Goodput goodput;
  goodput.step(1, 10, {});
  goodput.settle(1);
  LossSeconds slow{};
  slow[static_cast<int>(Loss::Straggler)] = 2;
  goodput.step(2, 10, slow);
  goodput.lose(Loss::Restart, 5);
  EXPECT_DOUBLE_EQ(goodput.elapsed(), 27);
  EXPECT_EQ(goodput.roll_back(1), 1);
  EXPECT_DOUBLE_EQ(goodput.elapsed(), 27);
  EXPECT_DOUBLE_EQ(goodput.lost(Loss::LostWork), 12);
  EXPECT_DOUBLE_EQ(goodput.lost(Loss::Straggler), 0);
  EXPECT_DOUBLE_EQ(goodput.share(), 10.0 / 27);
}

}  // namespace
}  // namespace weft::runtime
