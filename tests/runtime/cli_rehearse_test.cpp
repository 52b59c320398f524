// weft rehearse and the verbs that read what it leaves, in the process of the test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "runtime/store/run_store.h"
#include "tests/runtime/cli_in_process.h"
#include "tests/scratch.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

const std::string kJob = WEFT_SOURCE_DIR "/deploy/jobs/r1-zero-arithmetic.yaml";
const std::string kHost = WEFT_SOURCE_DIR "/deploy/clusters/cpu-host.yaml";

class CliRehearse : public testing::Test {
 protected:
  std::string directory() const { return (scratch_ / "run").string(); }
  Result rehearse(std::vector<std::string> more) const {
    std::vector<std::string> args = {"rehearse", kJob, "--cluster", kHost, "--dir", directory()};
    args.insert(args.end(), more.begin(), more.end());
    return run(args);
  }
  const test::Scratch scratch_;
};

TEST_F(CliRehearse, EveryVerbThatReadsItSaysThatItIsSynthetic) {
  const Result result = rehearse({"--steps", "60", "--faults", "none"});
  ASSERT_EQ(result.code, kOk) << result.err;
  EXPECT_THAT(result.err, HasSubstr("synthetic: nothing was trained"));
  for (const std::vector<std::string>& verb : std::vector<std::vector<std::string>>{
           {"status", directory()},
           {"ls", scratch_.path().string()},
           {"trace", directory(), "--step", "last", "-o", (scratch_ / "trace.json").string()},
           {"events", directory()},
           {"logs", directory()},
           {"ckpt", "ls", directory()},
           {"ckpt", "verify", directory()},
           {"ckpt", "show", directory()}}) {
    const Result read = run(verb);
    EXPECT_EQ(read.code, kOk) << verb[0] << ": " << read.err;
    EXPECT_THAT(read.out + read.err, HasSubstr("synthetic")) << verb[0];
  }
  // What another program opens says so in the picture itself.
  const auto drawn = read_file(scratch_ / "trace.json", std::size_t{64} << 20);
  ASSERT_TRUE(drawn);
  EXPECT_THAT(*drawn, HasSubstr("[synthetic])"));
  for (const std::vector<std::string>& verb :
       std::vector<std::vector<std::string>>{{"status", directory(), "--json"},
                                             {"ckpt", "ls", directory(), "--json"},
                                             {"events", directory(), "--json"}})
    EXPECT_THAT(json::parse(run(verb).out).dump(), HasSubstr("\"synthetic\":true")) << verb[0];
}

TEST_F(CliRehearse, ARunCanBePlannedOnWithOtherInputs) {
  ASSERT_EQ(rehearse({"--steps", "5", "--faults", "none", "--quiet"}).code, kOk);
  const Result as_it_is = run({"plan", directory(), "--cluster", kHost});
  EXPECT_EQ(as_it_is.code, kOk) << as_it_is.err;
  EXPECT_THAT(as_it_is.out, HasSubstr("finished [synthetic], step "));
  EXPECT_THAT(as_it_is.out, HasSubstr("dualpipe P2 D2 E2, 4 micro-batches of 2"));
  const Result changed =
      run({"plan", directory(), "--cluster", kHost, "--what-if", "schedule=zb1p,expert=1"});
  EXPECT_EQ(changed.code, kOk) << changed.err;
  EXPECT_THAT(changed.out, HasSubstr("zb1p P2 D2 E1, 4 micro-batches of 2"));
}

TEST_F(CliRehearse, AFaultThatMeetsNobodySaysWhy) {
  const std::string script = (scratch_ / "faults.yaml").string();
  std::ofstream(script) << "- {at: 15s, kind: worker_crash, node: 3, device: 0}\n"
                           "- {at: 16s, kind: node_death, node: 2, for: 1h}\n"
                           "- {at: 30s, kind: node_death, node: 2, for: 1h}\n";
  ASSERT_EQ(rehearse({"--faults", script, "--days", "0.001", "--quiet"}).code, kOk);
  const Result missed = run({"events", directory(), "--kind", "fault_without_effect"});
  EXPECT_THAT(missed.out,
              HasSubstr("[synthetic] worker_crash at n003/0 meets nobody: a spare has no workers"));
  EXPECT_THAT(missed.out, HasSubstr("node_death at n002/0 meets nobody: the host is off"));
  EXPECT_THAT(run({"events", directory(), "--kind", "fault"}).out, HasSubstr("host n002 dies"));
}

TEST_F(CliRehearse, NothingThatNeedsAModelTakesItForOne) {
  ASSERT_EQ(rehearse({"--steps", "5", "--faults", "none", "--quiet"}).code, kOk);
  for (const std::vector<std::string>& verb : std::vector<std::vector<std::string>>{
           {"resume", directory()},
           {"generate", directory(), "--prompt", "3"},
           {"ckpt", "export", "hf", directory(), "-o", directory() + "-hf"},
           {"drift", directory(), "--cluster", kHost}}) {
    const Result refused = run(verb);
    EXPECT_NE(refused.code, kOk) << verb[0];
    EXPECT_THAT(refused.err, HasSubstr(directory() + " is a rehearsal")) << verb[0];
  }
  const Result again = rehearse({"--steps", "5"});
  EXPECT_EQ(again.code, kConfiguration);
  EXPECT_THAT(again.err, HasSubstr("holds a run already"));
}

TEST_F(CliRehearse, WatchedLiveItEndsAtItsHorizonWithTheLastStepSaved) {
  // So fast that nobody waits; the clock is the wall's, and the end is asked for, as a person
  // would.
  const Result result = rehearse({"--days", "0.0001", "--speed", "1000000", "--faults", "none"});
  ASSERT_EQ(result.code, kOk) << result.err;
  const std::size_t asked = result.err.find("asked to stop: finishing the step and saving");
  const std::size_t stopped =
      result.err.find("[synthetic] stopped as asked; the last step is saved");
  ASSERT_NE(asked, std::string::npos) << result.err;
  ASSERT_NE(stopped, std::string::npos) << result.err;
  EXPECT_LT(asked, stopped);
  const auto state = runtime::read_state(directory());
  ASSERT_TRUE(state);
  EXPECT_EQ((*state)["state"], "stopped");
  EXPECT_THAT((*state)["started"].get<std::string>(), Not(HasSubstr("2026-01-01")));
}

TEST_F(CliRehearse, WhatIsWrongWithAScriptOrTheSizeIsSaidAndNothingIsWritten) {
  const std::string script = (scratch_ / "faults.yaml").string();
  std::ofstream(script) << "- {at: 10s, kind: worker_crash, node: 300, device: 9}\n"
                           "- {at: -5s, kind: hang, node: 0}\n"
                           "- {at: 1s, kind: straggler, node: 0, factor: nan, for: 4s}\n"
                           "- {at: 30d, kind: link_flap, node: 0, device: 0, for: 1e99s}\n";
  const Result bad = rehearse({"--faults", script});
  EXPECT_EQ(bad.code, kConfiguration);
  for (const char* part :
       {":1:39: error: node must be", ":1:52: error: device must be", ":2:8: error: at: '-5s'",
        ":3:46: error: factor must be", "after the rehearsal's end", "'1e99s' is too long"})
    EXPECT_THAT(bad.err, HasSubstr(part));
  std::ofstream(script) << "- {at: 1s, kind: hang, node: 0, factor: 2}\n"
                           "- {at: 1s, kind: corrupt_checkpoint, node: 0}\n"
                           "- {at: 1s, kind: node_death, node: 0, for: 0s}\n"
                           "- {at: 1s, kind: link_flap, node: 0, for: 106000d}\n"
                           "- {at: 1s, kind: node_death}\n";
  const Result idle = rehearse({"--faults", script});
  EXPECT_EQ(idle.code, kConfiguration);
  for (const char* part :
       {":1:33: error: 'factor' means nothing to hang", "it takes at, node, device",
        ":2:38: error: 'node' means nothing to corrupt_checkpoint",
        ":3:44: error: for must be more than 0", ":4:43: error: for must be more than 0",
        ":5:3: error: node is missing"})
    EXPECT_THAT(idle.err, HasSubstr(part));
  const Result large =
      rehearse({"--set", "parallel.data=64", "--set", "pretrain.batch=512", "--set",
                "cold_start.batch=512", "--set", "grpo.prompts_per_step=32"});
  EXPECT_EQ(large.code, kConfiguration);
  EXPECT_THAT(large.err, HasSubstr("the job has 128 ranks, cpu-host has"));
  EXPECT_EQ(rehearse({"--seed", "-1"}).code, kUsage);
  EXPECT_EQ(rehearse({"--speed", "-1"}).code, kUsage);
  EXPECT_EQ(rehearse({"--days", "nan"}).code, kUsage);
  EXPECT_FALSE(fs::exists(directory() + "/run.json"));
}

}  // namespace
}  // namespace weft::cli
