// Runs that may not begin as they are asked to: each told what, where, why and what to do, with
// nothing changed that was there before.
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <thread>

#include "runtime/control/channel.h"
#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// Every file below, with its bytes; the lock names who holds it.
std::map<std::string, std::string> files_below(const fs::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (entry.is_regular_file() && entry.path().filename() != "lock")
      files[entry.path().string()] = text_of(entry.path());
  return files;
}

void expect_refused(const Ended& ended, int code, const std::vector<std::string>& said) {
  EXPECT_EQ(ended.code, code) << ended.err;
  for (const std::string& words : said)
    EXPECT_NE(ended.err.find(words), std::string::npos) << "no '" << words << "' in:\n"
                                                        << ended.err;
}

class RunRefusal : public testing::Test {
 protected:
  std::vector<std::string> run_words(const std::vector<std::string>& settings = {}) {
    std::vector<std::string> words = {"run", place.supervised_job(), "--dir", run.string()};
    for (const std::string& setting : settings) words.insert(words.end(), {"--set", setting});
    return words;
  }
  fs::path newest_journal() const {
    int newest = 0;
    for (const auto& entry : fs::directory_iterator(run / "terms"))
      newest = std::max(newest, std::stoi(entry.path().filename().string()));
    return run / "terms" / std::to_string(newest) / "journal.sqlite";
  }

  Place place;
  fs::path run = place / "run";
};

TEST_F(RunRefusal, AJournalOfANewerVersionIsLeftAlone) {
  ASSERT_EQ(weft(run_words({"pretrain.steps=10"})).code, 0);
  sqlite3* journal = nullptr;
  ASSERT_EQ(sqlite3_open(newest_journal().c_str(), &journal), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(journal, "PRAGMA user_version = 99", nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(journal);
  const auto before = files_below(run);
  for (const auto& words :
       {std::vector<std::string>{"resume", run.string()}, run_words({"pretrain.steps=10"})})
    expect_refused(weft(words), 78,
                   {newest_journal().string(), "version 99", "go on with the weft that wrote it"});
  EXPECT_EQ(files_below(run), before);
}

TEST_F(RunRefusal, OfTwoSubmissionsAtOnceOneRuns) {
  const std::vector<std::string> endless = run_words({"pretrain.steps=100000"});
  Weft first(endless), second(endless);
  ASSERT_TRUE(eventually([&] { return !first.running() || !second.running(); }));
  const bool first_runs = first.running();
  expect_refused((first_runs ? second : first).wait(), 69, {"in use by process", "--dir"});
  Weft& runs = first_runs ? first : second;
  EXPECT_TRUE(eventually([&] { return steps_of(run) >= 3 || !runs.running(); }));
  runs.signal(SIGINT);
  EXPECT_EQ(runs.wait().code, 130);
  EXPECT_EQ(weft({"status", run.string(), "--expect", "stopped"}).code, 0);
}

TEST_F(RunRefusal, ARunThatFailedOnItsDataDoesNotBlockTheNextOne) {
  const std::string shorty = place.file("short.txt", "abc");
  EXPECT_NE(weft(run_words({"data.task=text", "data.path=" + shorty})).code, 0);
  ASSERT_TRUE(fs::exists(run / "run.json"));
  const Ended ended = weft(run_words());
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_NE(ended.err.find("never made a step"), std::string::npos) << ended.err;
  EXPECT_EQ(steps_of(run), 40);
  // From now on there is something to lose.
  expect_refused(weft(run_words({"seed=8"})), 78, {"holds a run of another job", "seed", "--dir"});
}

TEST_F(RunRefusal, ARunOnAReadOnlyDiskIsReadAndNotResumed) {
  const fs::path disk = place / "disk";
  fs::create_directories(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=64m") != 0)
    GTEST_SKIP() << "may not mount a disk here";
  run = disk / "run";
  EXPECT_EQ(weft(run_words({"pretrain.steps=10"})).code, 0);
  EXPECT_EQ(::mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr), 0);
  const auto before = files_below(run);
  expect_refused(weft({"resume", run.string(), "--set", "pretrain.steps=20"}), 77,
                 {run.string(), "Read-only"});
  EXPECT_EQ(weft({"status", run.string(), "--expect", "finished"}).code, 0);
  EXPECT_EQ(weft({"ckpt", "verify", run.string()}).code, 0);
  EXPECT_EQ(files_below(run), before);
  ::umount2(disk.c_str(), MNT_DETACH);
}

/// Two agents may share a run; here one of them is somebody else.
class StrangeAgent : public RunRefusal {
 protected:
  void SetUp() override {
    std::vector<std::string> words = run_words({"pretrain.steps=100000"});
    words.push_back("--prepare");
    ASSERT_EQ(weft(words).code, 0);
    agent = std::make_unique<Weft>(
        std::vector<std::string>{"agent", "--run", run.string(), "--node", "ours"});
    ASSERT_TRUE(eventually([&] { return steps_of(run) >= 2 || !agent->running(); }));
    ASSERT_TRUE(agent->running());
  }
  void expect_run_goes_on() {
    const long long steps = steps_of(run);
    EXPECT_TRUE(eventually([&] { return steps_of(run) > steps + 2; }));
    EXPECT_EQ(json::parse(text_of(run / "run.json"))["restarts"], 0);
  }

  std::unique_ptr<Weft> agent;
};

TEST_F(StrangeAgent, OfAnotherBuildIsToldSoAndLeaves) {
  // A build is told by its id in the binary; one bit makes another one.
  std::string binary = text_of(WEFT_BINARY);
  const std::string note("\4\0\0\0\24\0\0\0\3\0\0\0GNU\0", 16);
  const std::size_t at = binary.find(note);
  if (at == std::string::npos) GTEST_SKIP() << "the linker gives binaries no build id";
  binary[at + note.size()] = static_cast<char>(binary[at + note.size()] ^ 1);
  const fs::path other = place.file("other_weft", binary);
  fs::permissions(other, fs::perms::owner_all);
  const fs::path said = place / "said";
  const int status =
      std::system(("timeout 60 '" + other.string() + "' agent --run '" + run.string() +
                   "' --node theirs > /dev/null 2> '" + said.string() + "'")
                      .c_str());
  Ended ended;
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  ended.err = text_of(said);
  expect_refused(ended, 78, {"node theirs runs another build", "run the same weft on every node"});
  expect_run_goes_on();
}

TEST_F(StrangeAgent, OfAnotherWireVersionIsAnsweredWithWhatToDo) {
  const auto keys = runtime::keys_of_run((run / "keys").string());
  ASSERT_TRUE(keys) << keys.error().message;
  std::string endpoint;
  for (const auto& entry : fs::directory_iterator(run / "terms")) {
    const json claim = json::parse(text_of(entry.path() / "claim.json"), nullptr, false);
    if (claim.is_object() && !claim.value("endpoint", "").empty()) endpoint = claim["endpoint"];
  }
  const auto client = runtime::ChannelClient::connect(endpoint, "theirs", *keys);
  ASSERT_TRUE(client) << client.error().message;
  std::string answer;
  EXPECT_TRUE(eventually([&] {
    (*client)->send(R"({"weft": 99, "type": "report", "body": {}})");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return (*client)->receive(answer);
  }));
  for (const char* words : {"refusal", "wire version 99", "run the same weft on every node"})
    EXPECT_NE(answer.find(words), std::string::npos) << answer;
  expect_run_goes_on();
  EXPECT_TRUE(eventually([&] {
    return json::parse(text_of(run / "run.json"), nullptr, false)
               .value("refused_by_coordinator", 0) > 0;
  }));
}

}  // namespace
}  // namespace weft::test
