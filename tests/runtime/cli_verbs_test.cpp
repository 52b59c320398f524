#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "runtime/cli/app.h"
#include "runtime/cli/progress.h"
#include "runtime/store/run_store.h"

namespace weft::cli {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct Result {
  int code;
  std::string out, err;
};

Result run(const std::vector<std::string>& args,
           std::vector<std::pair<std::string, std::string>> environment = {}) {
  std::istringstream in;
  std::ostringstream out, err;
  const SystemClock clock;
  Io io{.in = in, .out = out, .err = err, .clock = clock, .environment = std::move(environment)};
  const int code = run_cli(args, io);
  return {code, out.str(), err.str()};
}

const std::string kJob = WEFT_SOURCE_DIR "/deploy/jobs/r1-zero-arithmetic.yaml";
const std::string kBad = WEFT_SOURCE_DIR "/tests/golden/job_bad.yaml";

TEST(Cli, AMistypedVerbOrFlagIsUsageWithASuggestion) {
  for (const auto& [args, hint] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"chekc", kJob}, "did you mean 'check'?"},
           {{"check", kJob, "--resolvd"}, "did you mean '--resolved'?"},
           {{"ckpt", "verfy"}, "did you mean 'verify'?"},
           {{"check"}, "JOB is required"},
           {{"logs", "--rank", "x"}, "rank"},
           {{"explain", "grop.beta"}, "did you mean 'grpo.beta'?"},
           {{"help", "rnu"}, "did you mean 'run'?"}}) {
    const Result result = run(args);
    EXPECT_EQ(result.code, kUsage) << hint;
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find(hint), std::string::npos) << result.err;
  }
}

TEST(Cli, DataGoesToStdoutAndTalkToStderr) {
  const Result good = run({"check", kJob});
  EXPECT_EQ(good.code, kOk) << good.err;
  EXPECT_NE(good.out.find("r1-zero-arithmetic"), std::string::npos);
  EXPECT_NE(good.err.find("weft run"), std::string::npos);
  const Result bad = run({"check", kBad});
  EXPECT_EQ(bad.code, kConfiguration);
  EXPECT_EQ(bad.out, "");
  EXPECT_NE(bad.err.find("nothing was started"), std::string::npos);
}

TEST(Cli, EveryShippedJobIsGood) {
  for (const char* name : {"r1-zero-arithmetic", "r1-zero-cups", "pretrain-text"}) {
    const Result result =
        run({"check", WEFT_SOURCE_DIR "/deploy/jobs/" + std::string(name) + ".yaml", "--set",
             "data.path=" + (std::string(name) == "pretrain-text" ? kJob : "")});
    EXPECT_EQ(result.code, kOk) << result.err;
  }
}

TEST(Cli, JsonOutputsParseAndNameTheirSchema) {
  for (const auto& args : std::vector<std::vector<std::string>>{{"check", kBad, "--json"},
                                                                {"check", kJob, "-o", "json"},
                                                                {"explain", "grpo", "--json"},
                                                                {"ls", "/", "--json"},
                                                                {"version", "--json"}}) {
    const Result result = run(args);
    const json parsed = json::parse(result.out, nullptr, false);
    ASSERT_TRUE(parsed.is_object()) << result.out;
    EXPECT_EQ(parsed["schema"], "weft." + args[0] + "/v1");
  }
  EXPECT_TRUE(json::parse(run({"schema"}).out, nullptr, false).contains("properties"));
}

TEST(Cli, TheEnvironmentAndSetReachTheJob) {
  const Result result =
      run({"check", kJob, "--json", "--set", "grpo.lr=1e-4"}, {{"WEFT__GRPO__BETA", "0.5"}});
  const json resolved = json::parse(result.out);
  EXPECT_EQ(resolved["resolved"]["grpo"]["beta"], 0.5);
  EXPECT_EQ(resolved["origins"]["grpo.beta"], "env WEFT__GRPO__BETA");
  EXPECT_EQ(resolved["origins"]["grpo.lr"], "--set");
}

TEST(Cli, EveryVerbsHelpBeginsWithAnExample) {
  for (const char* verb :
       {"check", "explain", "schema", "run", "resume", "status", "ls", "logs", "events", "samples",
        "ckpt", "generate", "schedule", "bench", "version", "help", "completion"}) {
    const Result result = run({verb, "--help"});
    EXPECT_EQ(result.code, kOk);
    EXPECT_TRUE(result.out.starts_with("Example:\n  weft " + std::string(verb))) << result.out;
    EXPECT_EQ(run({"help", verb}).out, result.out);
  }
  const std::string root = run({"help"}).out;
  for (const char* code : {" 65 ", " 69 ", " 75 ", " 78 ", " 124 ", " 130 "})
    EXPECT_NE(root.find(code), std::string::npos) << code;
}

TEST(Cli, CompletionKnowsVerbsFlagsAndFields) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const Result result = run({"completion", shell});
    EXPECT_EQ(result.code, kOk);
    for (const char* word : {"ckpt", "verify", "min-reward", "grpo.num_generations"})
      EXPECT_NE(result.out.find(word), std::string::npos) << shell << " " << word;
  }
  EXPECT_EQ(run({"completion", "csh"}).code, kUsage);
}

TEST(Cli, ColorIsOnlyThereWhenAskedFor) {
  EXPECT_EQ(run({"check", kBad}).err.find('\x1b'), std::string::npos);
  EXPECT_NE(run({"check", kBad, "--color", "always"}).err.find('\x1b'), std::string::npos);
}

TEST(ExitCodes, EachKindOfFailureHasItsOwn) {
  EXPECT_EQ(exit_code(Code::InvalidArgument), 78);
  EXPECT_EQ(exit_code(Code::Corrupt), 65);
  EXPECT_EQ(exit_code(Code::Busy), 69);
  EXPECT_EQ(exit_code(Code::Io), 77);
  EXPECT_EQ(exit_code(Code::DeadlineExceeded), 124);
  EXPECT_EQ(exit_code(Code::Internal), 70);
}

class CliRun : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "weft_cli_XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    parent = name;
    root = (parent / "demo").string();
    auto opened = runtime::RunStore::open(root, clock);
    ASSERT_TRUE(opened) << opened.error().message;
    store = std::move(*opened);
    ASSERT_TRUE(store->append_metrics({{"step", 1}, {"stage", "grpo"}, {"loss", 0.5}}));
    ASSERT_TRUE(store->append_event("checkpoint", "step 1", {}));
    ASSERT_TRUE(
        store->write_samples(1, {{{"prompt", "1+2="}, {"completion", "3"}, {"reward", 1.2}},
                                 {{"prompt", "2+2="}, {"completion", "5"}, {"reward", 0.0}}}));
    std::ofstream(store->paths().worker_log(0)) << "hello\nworld\ntorn";
    std::ofstream(store->paths().worker_log(1)) << "other\n";
  }
  void TearDown() override { fs::remove_all(parent); }

  SystemClock clock;
  fs::path parent;
  std::string root;
  std::unique_ptr<runtime::RunStore> store;
};

TEST_F(CliRun, StatusTellsRunningFromDead) {
  EXPECT_EQ(json::parse(run({"status", root, "--json"}).out)["state"], "running");
  EXPECT_EQ(run({"status", root, "--expect", "finished"}).code, kNotSo);
  store.reset();
  EXPECT_EQ(json::parse(run({"status", root, "--json"}).out)["state"], "dead");
  EXPECT_NE(run({"status", root}).err.find("weft resume"), std::string::npos);
  EXPECT_EQ(run({"status", root + "x"}).code, kBadData);
}

TEST_F(CliRun, LsListsIt) {
  EXPECT_EQ(run({"ls", parent.string(), "-o", "name"}).out, "demo\n");
  EXPECT_NE(run({"ls", parent.string()}).out.find("● running"), std::string::npos);
}

TEST_F(CliRun, LogsAreWholeLinesByRank) {
  EXPECT_EQ(run({"logs", root, "--rank", "0"}).out, "worker-0 | hello\nworker-0 | world\n");
  EXPECT_EQ(run({"logs", root, "--grep", "^o"}).out, "worker-1 | other\n");
  EXPECT_EQ(run({"logs", root, "--rank", "0", "-n", "1"}).out, "worker-0 | world\n");
  EXPECT_EQ(run({"logs", root, "--grep", "("}).code, kUsage);
  EXPECT_EQ(run({"logs", root, "--rank", "7"}).code, kBadData);
}

TEST_F(CliRun, SamplesAndEventsAreFiltered) {
  const Result good = run({"samples", root, "--min-reward", "1", "-o", "jsonl"});
  EXPECT_EQ(json::parse(good.out)["completion"], "3");
  EXPECT_EQ(run({"samples", root, "--step", "9"}).code, kBadData);
  EXPECT_NE(run({"events", root}).out.find("step 1"), std::string::npos);
  EXPECT_EQ(run({"events", root, "--kind", "none", "-o", "jsonl"}).out, "");
}

TEST(Progress, IsOneLineOnATerminalAndRareLinesOtherwise) {
  std::istringstream in;
  std::ostringstream out, err;
  SimClock clock;
  Io io{.in = in, .out = out, .err = err, .clock = clock};
  {
    Progress progress(io, false, std::chrono::seconds(30));
    for (int i = 0; i < 61; ++i, clock.advance(std::chrono::seconds(1)))
      progress.show("step " + std::to_string(i));
  }
  EXPECT_EQ(err.str(), "step 0\nstep 30\nstep 60\n");
  err.str("");
  io.err_tty = true;
  io.width = 8;
  {
    Progress progress(io, false);
    progress.show("a long line");
    progress.note("note");
  }
  EXPECT_EQ(err.str(), "\r\x1b[Ka long \r\x1b[Knote\n");
}

}  // namespace
}  // namespace weft::cli
