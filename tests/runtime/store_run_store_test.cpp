#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "runtime/store/run_store.h"
#include "tests/scratch.h"

namespace weft::runtime {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

class RunStoreTest : public testing::Test {
 protected:
  std::unique_ptr<RunStore> open() {
    auto store = RunStore::open(root / "run", clock);
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }
  static json step(int n) { return {{"step", n}, {"stage", "pretrain"}, {"loss", 1.0 / n}}; }
  long long rows(const char* table) {
    sqlite3* db = nullptr;
    sqlite3_open(paths.sqlite().c_str(), &db);
    sqlite3_stmt* statement = nullptr;
    sqlite3_prepare_v2(db, (std::string("SELECT count(*) FROM ") + table).c_str(), -1, &statement,
                       nullptr);
    const long long n =
        sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return n;
  }

  const test::Scratch scratch;
  const fs::path root = scratch.path();
  RunPaths paths{};
  SystemClock clock;
};

TEST_F(RunStoreTest, KeepsWhatItIsGivenWhereThePageSaysIt) {
  paths.root = root / "run";
  {
    auto store = open();
    ASSERT_TRUE(store);
    ASSERT_TRUE(store->describe({{"name", "demo"}, {"steps_planned", 2}}));
    for (int n : {1, 2}) ASSERT_TRUE(store->append_metrics(step(n)));
    ASSERT_TRUE(store->append_event("checkpoint", "step 2", {{"step", 2}}));
    ASSERT_TRUE(store->write_samples(2, {{{"score", 1.0}, {"output", "a\xff"}}}));
    ASSERT_TRUE(store->set_state(RunState::Finished, "all steps done"));
    EXPECT_EQ(store->attempt(), 1);
  }
  EXPECT_EQ(read_json_lines(paths.metrics())->size(), 2u);
  EXPECT_EQ(read_json_lines(paths.events())->at(0)["kind"], "checkpoint");
  EXPECT_EQ(sample_steps(paths), std::vector<long long>{2});
  const auto state = read_state(paths.root);
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ((*state)["state"], "finished");
  EXPECT_EQ((*state)["last_metrics"]["step"], 2);
  EXPECT_EQ(rows("steps"), 2);
  EXPECT_EQ(rows("events"), 1);
  EXPECT_EQ(rows("samples"), 1);
}

TEST_F(RunStoreTest, ASecondWriterIsBusyAndNamesTheFirst) {
  auto first = open();
  const auto second = RunStore::open(root / "run", clock);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::Busy);
  EXPECT_NE(second.error().message.find(std::to_string(::getpid())), std::string::npos);
  EXPECT_TRUE(is_locked(first->paths()));
}

TEST_F(RunStoreTest, AKilledWriterIsSeenAsDeadAndFreesTheDirectory) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = RunStore::open(root / "run", clock);
    const bool told = ::write(ready[1], "x", 1) == 1;
    while (store && told) ::pause();
    ::_exit(1);
  }
  ::close(ready[1]);
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ::close(ready[0]);
  EXPECT_EQ((*read_state(root / "run"))["state"], "running");
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ((*read_state(root / "run"))["state"], "dead");
  auto again = open();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->attempt(), 2);
  EXPECT_EQ((*read_state(root / "run"))["state"], "running");
}

TEST_F(RunStoreTest, ATornLastLineIsNeverRead) {
  paths.root = root / "run";
  {
    auto store = open();
    ASSERT_TRUE(store->append_metrics(step(1)));
  }
  std::ofstream(paths.metrics(), std::ios::app) << R"({"step": 2, "lo)";
  EXPECT_EQ(read_json_lines(paths.metrics())->size(), 1u);
  auto store = open();
  ASSERT_TRUE(store->append_metrics(step(2)));
  EXPECT_EQ(read_json_lines(paths.metrics())->size(), 2u);
}

TEST_F(RunStoreTest, TruncateDropsLaterStepsEverywhere) {
  paths.root = root / "run";
  auto store = open();
  for (int n = 1; n <= 5; ++n) ASSERT_TRUE(store->append_metrics(step(n)));
  ASSERT_TRUE(store->write_samples(2, {step(2)}));
  ASSERT_TRUE(store->write_samples(5, {step(5)}));
  ASSERT_TRUE(store->truncate_after(3));
  EXPECT_EQ(read_json_lines(paths.metrics())->back()["step"], 3);
  EXPECT_EQ(sample_steps(paths), std::vector<long long>{2});
  EXPECT_EQ(rows("steps"), 3);
  ASSERT_TRUE(store->append_metrics(step(4)));
  EXPECT_EQ(read_json_lines(paths.metrics())->size(), 4u);
}

TEST_F(RunStoreTest, TheIndexIsRebuiltFromTheLines) {
  paths.root = root / "run";
  {
    auto store = open();
    ASSERT_TRUE(store->append_metrics(step(1)));
  }
  std::ofstream(paths.sqlite()) << "this is no database";
  ASSERT_TRUE(rebuild_index(paths));
  EXPECT_EQ(rows("steps"), 1);
}

/// A file size limit refuses writes just as a full disk does, in the middle of a line.
TEST_F(RunStoreTest, ARefusedWriteNamesTheFileAndLeavesWholeLines) {
  paths.root = root / "run";
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = open();
    bool good = store->append_metrics(step(1)).has_value();
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{fs::file_size(paths.metrics()) + 10, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto refused = store->append_metrics(step(2));
    good = good && !refused && refused.error().code == Code::Io &&
           refused.error().message.find("metrics.jsonl") != std::string::npos;
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_json_lines(paths.metrics())->size(), 1u);
  const std::string text = *read_file(paths.metrics());
  EXPECT_EQ(text.back(), '\n');
}

TEST_F(RunStoreTest, APlaceWhereNothingCanBeWrittenIsAnIoError) {
  std::ofstream(root / "file") << "x";
  for (const fs::path& place : {root / "file" / "run", fs::path("/sys/weft_run")}) {
    const auto store = RunStore::open(place, clock);
    ASSERT_FALSE(store);
    EXPECT_EQ(store.error().code, Code::Io) << store.error().message;
    EXPECT_NE(store.error().message.find(place.string()), std::string::npos);
  }
}

TEST_F(RunStoreTest, ListsRunsAndLeavesOutWhatIsNone) {
  open();
  fs::create_directories(root / "not_a_run");
  fs::create_directories(root / "broken");
  std::ofstream(root / "broken" / "run.json") << "{";
  const auto runs = list_runs(root);
  ASSERT_TRUE(runs);
  ASSERT_EQ(runs->size(), 2u);
  EXPECT_EQ((*runs)[0]["state"], "dead");
  EXPECT_EQ((*runs)[1]["state"], "unreadable");
  EXPECT_EQ(list_runs(root / "nowhere").error().code, Code::NotFound);
}

}  // namespace
}  // namespace weft::runtime
