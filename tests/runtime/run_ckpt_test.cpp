// The verbs that tend checkpoints, on a real run: diff, reshard, prune, pin.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

class RunCkpt : public testing::Test {
 protected:
  /// Checkpoints of steps 2, 4 and 6, made once; every test gets a copy.
  void SetUp() override {
    static Place made_in;
    static const fs::path made = [] {
      const fs::path path = made_in / "run";
      const Ended ended =
          weft({"run", made_in.supervised_job(), "--dir", path.string(), "--set",
                "pretrain.steps=6", "--set", "parallel.data=1", "--set", "parallel.expert=1",
                "--set", "checkpoint.every_steps=2", "--set", "checkpoint.keep=10"});
      EXPECT_EQ(ended.code, 0) << ended.err;
      return path;
    }();
    fs::copy(made, run, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    ASSERT_EQ(checkpoints_of(run, false).size(), 3u);
  }

  Place place;
  fs::path run = place / "run";
};

TEST_F(RunCkpt, DiffExitsOneAndNamesWhatDiffers) {
  const std::string r = run.string();
  EXPECT_EQ(weft({"ckpt", "diff", r, r + "@6"}).code, 0);
  const Ended ended = weft({"ckpt", "diff", r + "@2", r + "@4", "-o", "json"});
  EXPECT_EQ(ended.code, 1) << ended.err;
  const json out = json::parse(ended.out, nullptr, false);
  ASSERT_TRUE(out.is_object()) << ended.out;
  EXPECT_EQ(out["schema"], "weft.ckpt.diff/v1");
  bool weights = false, state = false;
  for (const json& item : out["items"]) {
    weights |= item["name"] == "model/model.norm.weight" && item["max_absolute"] > 0;
    state |= item["name"] == "state/step" && item["what"] == "2 and 4";
  }
  EXPECT_TRUE(weights && state) << ended.out;
  EXPECT_EQ(weft({"ckpt", "diff", r, r + "@5"}).code, 65);
}

TEST_F(RunCkpt, ReshardedItIsTheSameAndARunGoesOnFromIt) {
  const std::string r = run.string(), out = (place / "five").string();
  const Ended made = weft({"ckpt", "reshard", r, "--step", "4", "--ranks", "5", "-o", out});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(weft({"ckpt", "diff", r + "@4", out + "/step-000000004"}).code, 0);
  EXPECT_EQ(weft({"ckpt", "reshard", r, "--step", "4", "--ranks", "5", "-o", out}).code, 69);

  const std::string owners = (place / "owners").string();
  const Ended by_layout = weft({"ckpt", "reshard", r, "--step", "4", "--layout",
                                "pipeline=4,data=1,expert=1,schedule=1f1b", "-o", owners});
  ASSERT_EQ(by_layout.code, 0) << by_layout.err;
  EXPECT_EQ(weft({"ckpt", "diff", r + "@4", owners + "/step-000000004"}).code, 0);

  const std::vector<json> before = metrics_of(run);
  for (const char* step : {"step-000000004", "step-000000006"}) fs::remove_all(run / "ckpt" / step);
  fs::rename(fs::path(out) / "step-000000004", run / "ckpt" / "step-000000004");
  const Ended resumed = weft({"resume", r});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(metrics_of(run), before) << "bit by bit";
}

TEST_F(RunCkpt, ADamagedNewestOneIsNamedByWhoeverReadsIt) {
  const std::string r = run.string();
  const fs::path newest = run / "ckpt" / "step-000000006";
  for (const auto& entry : fs::recursive_directory_iterator(newest)) {
    if (entry.path().extension() != ".safetensors") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('\x55');
    file.seekp(-2, std::ios::end);
    file.put('\xaa');
  }
  EXPECT_EQ(weft({"ckpt", "verify", r}).code, 1);
  const Ended answered = weft({"generate", r, "--prompt", "1+2=", "--temperature", "0"});
  EXPECT_EQ(answered.code, 0) << answered.err;
  EXPECT_NE(answered.err.find("weft: skipped step-000000006"), std::string::npos) << answered.err;
  const Ended recut = weft({"ckpt", "reshard", r, "--ranks", "1", "-o", (place / "o").string()});
  EXPECT_EQ(recut.code, 65) << recut.err;
  EXPECT_TRUE(fs::is_empty(place / "o")) << "nothing half-written stays";
  // What is no longer whole does not count as one of those that are kept.
  fs::remove(newest / "MANIFEST.json");
  const Ended pruned = weft({"ckpt", "prune", r, "--keep", "1", "--dry-run", "-o", "json"});
  const json fates = json::parse(pruned.out, nullptr, false)["items"];
  ASSERT_EQ(fates.size(), 3u) << pruned.out;
  for (const json& fate : fates)
    if (fate["name"] == "step-000000004") {
      EXPECT_EQ(fate.value("why", fate.value("reason", "")), "one of the newest 1") << pruned.out;
    } else if (fate["name"] == "step-000000006") {
      EXPECT_NE(fate.dump().find("not whole, but newer"), std::string::npos) << pruned.out;
    }
}

TEST_F(RunCkpt, LsNamesTheMissingFileAndResumePassesThatCheckpointOver) {
  const std::string r = run.string();
  const fs::path newest = run / "ckpt" / "step-000000006";
  const auto shard = fs::directory_iterator(newest / "model")->path();
  fs::remove(shard);
  const Ended listed = weft({"ckpt", "ls", r, "-o", "json"});
  EXPECT_EQ(listed.code, 0) << listed.err;
  const json entries = json::parse(listed.out, nullptr, false)["items"];
  ASSERT_EQ(entries.size(), 3u) << listed.out;
  EXPECT_EQ(entries[1]["state"], "complete") << listed.out;
  EXPECT_EQ(entries[2]["state"], "incomplete") << listed.out;
  EXPECT_NE(entries[2].value("reason", "").find(shard.filename().string()), std::string::npos)
      << listed.out;
  EXPECT_NE(weft({"ckpt", "ls", r}).out.find(shard.filename().string()), std::string::npos);
  const Ended resumed = weft({"resume", r});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_NE(resumed.err.find("skipped step-000000006"), std::string::npos) << resumed.err;
  EXPECT_NE(resumed.err.find("resumed from step-000000004"), std::string::npos) << resumed.err;
}

TEST_F(RunCkpt, ReshardSaysWhatItNeeds) {
  const std::string r = run.string(), out = (place / "out").string();
  EXPECT_EQ(weft({"ckpt", "reshard", r, "-o", out}).code, 2);
  const Ended bad = weft({"ckpt", "reshard", r, "--layout", "pipelin=4", "-o", out});
  EXPECT_EQ(bad.code, 78);
  EXPECT_NE(bad.err.find("pipelin=4"), std::string::npos) << bad.err;
  EXPECT_NE(weft({"ckpt", "reshard", r, "--layout", "pipeline=40", "-o", out}).code, 0);
  EXPECT_FALSE(fs::exists(fs::path(out) / "step-000000006"));
}

TEST_F(RunCkpt, PruneAsksForYesAndLeavesThePinned) {
  const std::string r = run.string();
  ASSERT_EQ(weft({"ckpt", "pin", r, "2"}).code, 0);
  EXPECT_EQ(weft({"ckpt", "pin", r, "3"}).code, 65);
  const Ended shown = weft({"ckpt", "prune", r, "--keep", "1", "--dry-run", "-o", "json"});
  EXPECT_EQ(shown.code, 0) << shown.err;
  int removed = 0;
  const json plan = json::parse(shown.out);
  for (const json& item : plan["items"]) removed += item["remove"].get<bool>();
  EXPECT_EQ(removed, 1) << shown.out;
  const Ended asked = weft({"ckpt", "prune", r, "--keep", "1"});
  EXPECT_EQ(asked.code, 2);
  EXPECT_NE(asked.err.find("--yes"), std::string::npos) << asked.err;
  EXPECT_EQ(checkpoints_of(run, false).size(), 3u);
  EXPECT_EQ(weft({"ckpt", "prune", r, "--yes"}).code, 0);
  EXPECT_EQ(checkpoints_of(run, false).size(), 3u) << "the job keeps ten";
  EXPECT_EQ(weft({"ckpt", "prune", r, "--keep", "1", "--yes"}).code, 0);
  EXPECT_EQ(checkpoints_of(run, false),
            (std::vector<std::string>{"step-000000002", "step-000000006"}));
  ASSERT_EQ(weft({"ckpt", "unpin", r, "2"}).code, 0);
  EXPECT_EQ(weft({"ckpt", "prune", r, "--keep", "1", "--yes"}).code, 0);
  EXPECT_EQ(checkpoints_of(run, false), (std::vector<std::string>{"step-000000006"}));
}

}  // namespace
}  // namespace weft::test
