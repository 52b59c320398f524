#include "runtime/cluster/probe_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/files.h"
#include "runtime/cluster/machine_load.h"
#include "runtime/job/load.h"
#include "runtime/plan/work_of_job.h"
#include "tests/scratch.h"

namespace weft::runtime {
namespace {

using testing::HasSubstr;

TEST(ProbeRuns, EachShapeIsAJobThatFitsTheWorkers) {
  const test::Scratch scratch;
  const std::string text = (scratch.path() / "words.txt").string();
  ASSERT_TRUE(write_file_atomically(text, words_to_learn()));
  for (const auto& [workers, cores] :
       {std::pair{1, 1}, {1, 2}, {2, 2}, {3, 2}, {4, 2}, {4, 4}, {6, 4}, {8, 2}, {8, 64}}) {
    const auto shapes = probe_shapes(workers, cores);
    ASSERT_FALSE(shapes.empty());
    for (const RunShape& shape : shapes) {
      EXPECT_LE(shape.world(), workers);
      const Loaded loaded = load_job_text(job_text(shape, 60, text), "probe.yaml");
      ASSERT_TRUE(loaded.ok()) << loaded.diagnostics.front().message << "\n"
                               << job_text(shape, 60, text);
      const auto work = work_of(loaded.job);
      ASSERT_TRUE(work) << work.error().message;
      EXPECT_EQ(work->layout.world(), shape.world());
      EXPECT_DOUBLE_EQ(work->micro_batch_sequences, 2);
    }
  }
}

TEST(ProbeRuns, MoreWorkersThanCoresAreProbedSharingThemAndApart) {
  bool shared = false, apart = false;
  for (const RunShape& shape : probe_shapes(4, 2)) {
    shared |= shape.world() > 2;
    apart |= shape.world() <= 2;
  }
  EXPECT_TRUE(shared && apart);
}

TEST(ProbeRuns, ARunThatFailsIsSaid) {
  const test::Scratch scratch;
  const auto run = run_shape({}, "/bin/false", scratch.path(), 0.02, 0.1);
  ASSERT_FALSE(run);
  EXPECT_THAT(run.error().message, HasSubstr("a small run failed"));
}

TEST(ProbeRuns, ARunThatRecordsNothingIsSaid) {
  const test::Scratch scratch;
  const auto run = run_shape({}, "/bin/true", scratch.path(), 0.02, 0.1);
  ASSERT_FALSE(run);
  EXPECT_THAT(run.error().message, HasSubstr("recorded no steps"));
}

TEST(ProbeRuns, ARealRunSaysWhatAStepTook) {
  const test::Scratch scratch;
  const RunShape shape{.hidden = 32, .heads = 2, .micro_batches = 1};
  const auto run = run_shape(shape, WEFT_BINARY, scratch.path(), 1, 0.01);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_GT(run->seconds, 0);
  EXPECT_EQ(run->work.model.hidden, 32);
  EXPECT_FALSE(std::filesystem::exists(scratch.path() / "run"));
}

TEST(MachineLoad, ReadsTheFirstLineOfTheKernelsCounts) {
  const auto times =
      parse_processor_times("cpu  100 10 50 800 40 1 2 30 5 6\ncpu0 1 2 3 4 5 6 7 8 9 10\n", 100);
  ASSERT_TRUE(times);
  EXPECT_DOUBLE_EQ(times->busy, 1.63);
  EXPECT_DOUBLE_EQ(times->idle, 8.4);
  EXPECT_DOUBLE_EQ(times->stolen, 0.3);
}

TEST(MachineLoad, WhatIsNoSuchTextIsNone) {
  for (const char* text : {"", "cpu ", "cpu 1 2 3", "cpu  a b c d e f g h", "mem 1 2 3 4 5 6 7 8",
                           "cpu  1 2 3 4 5 6 7 -8"})
    EXPECT_FALSE(parse_processor_times(text, 100)) << text;
  EXPECT_FALSE(parse_processor_times("cpu  1 2 3 4 5 6 7 8", 0));
}

TEST(MachineLoad, WarnsOfOthersOnly) {
  EXPECT_EQ(load_warning(0, 2), "");
  EXPECT_EQ(load_warning(0.05, 2), "");
  EXPECT_THAT(load_warning(0.5, 2), HasSubstr("others had 0.5 of 2 cores"));
  EXPECT_THAT(load_warning(0.5, 2), HasSubstr("measure again when it is quiet"));
}

TEST(MachineLoad, NobodyHasMoreCoresThanThereAre) {
  const LoadWatch watch;
  EXPECT_GE(watch.others(), 0);
}

}  // namespace
}  // namespace weft::runtime
