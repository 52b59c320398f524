// Bad input is normal input: each an exit code of its own and a message that says what to change,
// and nothing half-written.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

class RunInput : public testing::Test {
 protected:
  /// `weft run` of the tiny job with these changes.
  Ended run_with(const std::vector<std::string>& settings) {
    std::vector<std::string> arguments = {"run", place.supervised_job(), "--dir", run.string()};
    for (const std::string& setting : settings)
      arguments.insert(arguments.end(), {"--set", setting});
    return weft(arguments);
  }

  /// 30 steps with checkpoints at 10, 20 and 30.
  void run_30_steps() {
    const Ended ended = run_with({"pretrain.steps=30"});
    ASSERT_EQ(ended.code, 0) << ended.err;
    ASSERT_EQ(checkpoints_of(run, false).size(), 3u);
  }

  /// One byte in the middle of the step's first model shard.
  void damage(const std::string& step) {
    for (const auto& entry : fs::directory_iterator(run / "ckpt" / step / "model")) {
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      const auto middle = static_cast<std::streamoff>(fs::file_size(entry.path()) / 2);
      file.seekg(middle);
      const char byte = static_cast<char>(file.get() ^ 0x10);
      file.seekp(middle);
      file.put(byte);
      return;
    }
  }

  Place place;
  fs::path run = place / "run";
};

void expect_refused(const Ended& ended, int code, const std::vector<std::string>& said) {
  EXPECT_EQ(ended.code, code) << ended.err;
  EXPECT_EQ(ended.out, "");
  for (const std::string& words : said)
    EXPECT_NE(ended.err.find(words), std::string::npos) << "no '" << words << "' in:\n"
                                                        << ended.err;
}

TEST_F(RunInput, AJobThatCannotRunIsRefusedBeforeAnythingIsWritten) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"pretrain.steps=many", {"pretrain.steps", "many", "whole number"}},
      {"parallel.expert=3", {"parallel.expert = 3 does not divide"}},
      {"model.n_routed_experts=5", {"does not divide"}},
      {"parallel.pipeline=3", {"parallel.pipeline = 3", "even"}},
      {"parallel.micro_batches=2", {"parallel.micro_batches = 2", "dualpipe"}},
      {"model.num_hidden_layers=1", {"model.num_hidden_layers = 1"}},
      {"pretrain.batch=4", {"pretrain.batch = 4", "at least 8"}},
      {"pretrain.stepz=4", {"did you mean"}},
      {"pretrain.eval_problems=3", {"pretrain.eval_problems = 3", "at least 4"}},
      {"control.port=99999", {"control.port"}},
      {"recipe=[pretrain, gpro]", {"did you mean 'grpo'"}}};
  for (const auto& [setting, said] : cases) {
    expect_refused(run_with({setting}), 78, said);
    EXPECT_FALSE(fs::exists(run)) << setting;
  }
}

TEST_F(RunInput, AMissingJobFileIsNamed) {
  const Ended ended = weft({"run", (place / "none.yaml").string(), "--dir", run.string()});
  expect_refused(ended, 78, {(place / "none.yaml").string(), "No such file"});
  EXPECT_FALSE(fs::exists(run));
}

TEST_F(RunInput, WrongTypesInTheFileCarryTheirPlace) {
  const std::string job =
      place.file("bad.yaml", "name: [1]\nseed: x\npretrain: 5\nparallel: {pipeline: two}\n");
  const Ended ended = weft({"run", job, "--dir", run.string()});
  expect_refused(ended, 78, {"bad.yaml:1:", "bad.yaml:2:", "bad.yaml:3:", "bad.yaml:4:", "^"});
  EXPECT_FALSE(fs::exists(run));
}

TEST_F(RunInput, ProblemsThatAreTooLongForTheModelAreRefusedBeforeTheFirstStep) {
  expect_refused(run_with({"model.max_position_embeddings=16"}), 78,
                 {"model.max_position_embeddings = 16", "raise it to"});
  const Ended ended = weft({"run", place.grpo_job(), "--dir", (place / "grpo").string(), "--set",
                            "grpo.max_completion_length=126"});
  expect_refused(ended, 78, {"grpo.max_completion_length", "raise it to"});
  EXPECT_EQ(steps_of(run) + steps_of(place / "grpo"), 0);
}

TEST_F(RunInput, MissingTrainingTextIsNamed) {
  const Ended ended = run_with({"data.task=text", "data.path=" + (place / "none.txt").string()});
  expect_refused(ended, 78, {"data.path", "none.txt", "No such file"});
  EXPECT_FALSE(fs::exists(run));
  expect_refused(run_with({"data.task=text"}), 78, {"needs data.path"});
  expect_refused(run_with({"data.task=text", "data.path=" + place.root().string()}), 78,
                 {"not a file"});
}

TEST_F(RunInput, TextThatIsTooShortSaysSo) {
  const std::string shorty = place.file("short.txt", "abc");
  const Ended ended = run_with({"data.task=text", "data.path=" + shorty});
  EXPECT_NE(ended.code, 0);
  EXPECT_NE(ended.err.find("short.txt"), std::string::npos) << ended.err;
}

TEST_F(RunInput, ADamagedNewestCheckpointIsSkippedAndSaidSo) {
  run_30_steps();
  const std::vector<json> expected = metrics_of(run);
  damage("step-000000030");
  const Ended verified = weft({"ckpt", "verify", run.string()});
  EXPECT_EQ(verified.code, 1) << verified.err;
  EXPECT_NE(verified.out.find("DAMAGED"), std::string::npos) << verified.out;
  const Ended ended = weft({"resume", run.string()});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_NE(ended.err.find("skipped step-000000030"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("resumed from step-000000020"), std::string::npos) << ended.err;
  std::vector<std::string> kinds;
  for (const json& event : lines_of(run / "events.jsonl")) kinds.push_back(event["kind"]);
  EXPECT_EQ(std::ranges::count(kinds, "skipped_checkpoint"), 1);
  EXPECT_EQ(metrics_of(run), expected);
  EXPECT_EQ(weft({"ckpt", "verify", run.string()}).code, 0) << "the damaged one was written anew";
}

TEST_F(RunInput, WithoutAnyWholeCheckpointARunDoesNotSilentlyBeginAgain) {
  run_30_steps();
  for (const char* step : {"step-000000010", "step-000000020", "step-000000030"}) damage(step);
  const std::vector<json> before = metrics_of(run);
  const Ended ended = weft({"resume", run.string()});
  expect_refused(ended, 65, {"step-000000010", "step-000000030", "ckpt"});
  EXPECT_EQ(metrics_of(run), before) << "nothing of what is there may be thrown away";
}

TEST_F(RunInput, AControlPortInUseIsNamed) {
  const int other = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(::bind(other, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(::listen(other, 1), 0);
  ASSERT_EQ(::getsockname(other, reinterpret_cast<sockaddr*>(&address), &length), 0);
  const std::string port = std::to_string(::ntohs(address.sin_port));
  expect_refused(run_with({"control.port=" + port}), 69,
                 {"port " + port, "in use", "control.port"});
  ::close(other);
}

TEST_F(RunInput, ASecondRunInTheSameDirectoryIsRefusedWithThePid) {
  Weft first(
      {"run", place.supervised_job(), "--dir", run.string(), "--set", "pretrain.steps=100000"});
  ASSERT_TRUE(eventually([&] { return steps_of(run) > 0; }));
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"run", place.supervised_job(), "--dir", run.string()},
        std::vector<std::string>{"resume", run.string()}})
    expect_refused(weft(arguments), 69,
                   {"in use by process " + std::to_string(first.pid()), "--dir"});
  EXPECT_TRUE(first.running());
}

TEST_F(RunInput, AnotherJobInTheSameDirectoryIsRefused) {
  ASSERT_EQ(run_with({"pretrain.steps=1"}).code, 0);
  const std::string resolved = text_of(run / "config.resolved.yaml");
  const Ended ended = run_with({"model.hidden_size=64"});
  expect_refused(ended, 78, {"model.hidden_size", "weft resume", "--dir"});
  EXPECT_EQ(text_of(run / "config.resolved.yaml"), resolved);
  EXPECT_EQ(weft({"status", run.string(), "--expect", "finished"}).code, 0)
      << "a refused job does not touch the run";
}

TEST_F(RunInput, AJobFileInADirectoryThatIsNoRunIsNotOverwritten) {
  fs::create_directory(run);
  const std::string own = place.file("run/job.yaml", "name: precious\n");
  expect_refused(run_with({}), 78, {own, "--dir"});
  EXPECT_EQ(text_of(own), "name: precious\n");
}

TEST_F(RunInput, QuietMeansOnlyErrors) {
  const Ended ended = weft({"run", place.supervised_job(), "--dir", run.string(), "-q", "--set",
                            "pretrain.steps=1", "--set", "pretrain.warmup=0"});
  EXPECT_EQ(ended.code, 0);
  EXPECT_EQ(ended.out + ended.err, "");
}

TEST_F(RunInput, AWorkerStartedByHandSaysWhoStartsWorkers) {
  const std::string parent = std::to_string(::getpid());
  expect_refused(weft({"worker"}), 2, {"weft run"});
  expect_refused(weft({"worker", "--world", "0", "--control", "0", "--parent", parent}), 70,
                 {"weft run"});
  EXPECT_EQ(weft({"worker", "--world", "0", "--control", "0", "--parent", "1"}).code, 70);
}

TEST_F(RunInput, ADirectoryThatIsAFileIsRefused) {
  std::ofstream(run) << "x";
  expect_refused(run_with({}), 77, {run.string()});
}

/// A small disk of its own, where the test may mount one.
class RunDisk : public RunInput {
 protected:
  void TearDown() override {
    if (mounted_) ::umount2(disk.c_str(), MNT_DETACH);
  }
  bool mount_disk(const std::string& options) {
    fs::create_directories(disk);
    mounted_ = ::mount("tmpfs", disk.c_str(), "tmpfs", 0, options.c_str()) == 0;
    return mounted_;
  }
  bool make_read_only() {
    return ::mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }
  Ended run_on_disk(const std::vector<std::string>& settings = {}) {
    run = disk / "run";
    return run_with(settings);
  }

  fs::path disk = place / "disk";

 private:
  bool mounted_ = false;
};

TEST_F(RunDisk, AReadOnlyDiskIsNamed) {
  if (!mount_disk("size=1m")) GTEST_SKIP() << "may not mount a disk here";
  ASSERT_TRUE(make_read_only());
  const Ended ended = run_on_disk();
  expect_refused(ended, 77, {run.string(), "Read-only", "--dir"});
  EXPECT_FALSE(fs::exists(run));
}

TEST_F(RunDisk, ADiskThatFillsUpEndsTheRunAndLeavesOnlyWholeCheckpoints) {
  if (!mount_disk("size=2m")) GTEST_SKIP() << "may not mount a disk here";
  const Ended ended = run_on_disk({"control.disk_wait=2s"});
  EXPECT_EQ(ended.code, 77) << ended.err;
  EXPECT_NE(ended.err.find("No space left"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("weft resume"), std::string::npos) << ended.err;
  const json verified = json::parse(weft({"ckpt", "verify", run.string(), "--json"}).out);
  for (const json& entry : verified["items"]) EXPECT_EQ(entry["ok"], true) << entry;
  ASSERT_EQ(::mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT, "size=64m"), 0);
  EXPECT_EQ(weft({"resume", run.string()}).code, 0);
  EXPECT_EQ(steps_of(run), 40);
}

TEST_F(RunDisk, AFullDiskIsSaidBeforeAnythingStarts) {
  if (!mount_disk("size=64k")) GTEST_SKIP() << "may not mount a disk here";
  std::ofstream(disk / "filler", std::ios::binary) << std::string(1 << 20, 'x');
  const Ended ended = run_on_disk();
  expect_refused(ended, 77, {"No space left"});
}

}  // namespace
}  // namespace weft::test
