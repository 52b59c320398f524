#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "runtime/cli/progress.h"
#include "runtime/store/run_store.h"
#include "tests/runtime/cli_in_process.h"
#include "tests/scratch.h"

namespace weft::cli {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

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

TEST(Cli, ARunMayHaveAVerbsName) {
  const Result result = run({"ckpt", "ls", "run"});  // a directory that is not there
  EXPECT_EQ(result.err.find("is required"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("run"), std::string::npos) << result.err;
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
  for (const char* name :
       {"r1-zero-arithmetic", "r1-zero-cups", "pretrain-text", "virtual-dualpipe"}) {
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

TEST(Cli, NodesAreListedWithTheirRanksAddressAndLastSignOfLifeAndThoseOfAnOldRunWithout) {
  const fs::path root = fs::temp_directory_path() / ("weft-nodes-" + std::to_string(::getpid()));
  fs::create_directories(root);
  const auto list = [&](const json& members, const std::string& format) {
    const json state = {{"state", "stopped"},
                        {"nodes", {{"a", "here"}, {"b", "lost"}, {"c", "here"}}},
                        {"excluded", {{"c", "hot"}}},
                        {"members", members}};
    std::ofstream(root / "run.json") << state.dump();
    const Result result = run({"nodes", "ls", root.string(), "-o", format});
    EXPECT_EQ(result.code, 0) << result.err;
    return result.out;
  };
  const json members = {{"a",
                         {{"ranks", {0, 1, 2, 3, 8}},
                          {"address", "10.0.0.1"},
                          {"heard", "2020-01-02T03:04:05.000Z"}}},
                        {"b", {{"ranks", json::array()}, {"address", ""}, {"heard", nullptr}}}};
  const std::string table = list(members, "table");
  for (const char* words : {"RANKS", "ADDRESS", "HEARD", "0-3,8", "10.0.0.1", " d ago", "hot"})
    EXPECT_NE(table.find(words), std::string::npos) << words << "\n" << table;
  const json items = json::parse(list(members, "json"))["items"];
  EXPECT_EQ(items[0]["ranks"], json({0, 1, 2, 3, 8}));
  EXPECT_EQ(items[0]["heard"], "2020-01-02T03:04:05.000Z");
  EXPECT_EQ(items[1]["heard"], nullptr);
  EXPECT_EQ(items[2]["state"], "excluded");
  for (const json& strange : {json(), json("x"), json({{"a", {{"ranks", {"x"}}}}, {"b", 3}})})
    EXPECT_EQ(json::parse(list(strange, "json"))["items"].size(), 3u);
  EXPECT_NE(list(json(), "table").find("● here"), std::string::npos);
  fs::remove_all(root);
}

TEST(Cli, AScheduleIsShownAsMadeAsExecutedAndForwardOnly) {
  const std::vector<std::string> size = {"schedule", "--kind",          "dualpipe", "--ranks",
                                         "2",        "--micro-batches", "4"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), size.begin(), size.end());
    return run(more);
  };
  EXPECT_EQ(with({}).out.find("Send"), std::string::npos);
  const Result executed = with({"--messages"});
  EXPECT_NE(executed.out.find("SendF:0.0.0>1"), std::string::npos) << executed.out;
  EXPECT_NE(executed.out.find("Update Snapshot"), std::string::npos);
  const Result forward = with({"--forward-only", "--messages"});
  EXPECT_EQ(forward.code, kOk) << forward.err;
  EXPECT_EQ(forward.out.find(" B:"), std::string::npos);
  EXPECT_EQ(forward.out.find("Update"), std::string::npos);
}

TEST(Cli, BalanceAnswersInThePublishedFormAndFromAnEarlierAnswerMovesNothing) {
  const std::filesystem::path dir =
      std::filesystem::temp_directory_path() / ("weft-balance-" + std::to_string(::getpid()));
  std::filesystem::create_directories(dir);
  const std::string input = (dir / "load.json").string(), now = (dir / "now.json").string();
  std::ofstream(input) << R"({"weight": [[90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
                                         [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27]]})";
  std::vector<std::string> args = {"balance", "--input", input, "--replicas", "16", "--groups",
                                   "4",       "--nodes", "2",   "--gpus",     "8",  "--json"};
  const Result first = run(args);
  ASSERT_EQ(first.code, kOk) << first.err;
  const json answer = json::parse(first.out);
  EXPECT_EQ(answer["schema"], "weft.balance/v1");
  ASSERT_EQ(answer["phy2log"].size(), 2u);
  for (int layer = 0; layer < 2; ++layer)
    for (int expert = 0; expert < 12; ++expert) {
      int replicas = 0;
      for (const json& slot : answer["log2phy"][layer][expert]) {
        if (slot == -1) continue;
        ++replicas;
        EXPECT_EQ(answer["phy2log"][layer][slot.get<int>()], expert);
      }
      EXPECT_EQ(answer["logcnt"][layer][expert], replicas);
    }
  std::ofstream(now) << first.out;
  args.insert(args.end(), {"--current", now});
  EXPECT_EQ(json::parse(run(args).out)["moved"], json({0, 0}));

  const Result vague = run({"balance", "--input", input});
  EXPECT_EQ(vague.code, kUsage);
  EXPECT_NE(vague.err.find("give --replicas N and --gpus M"), std::string::npos) << vague.err;
  for (const auto& [weights, why] : std::initializer_list<std::pair<const char*, const char*>>{
           {"[[1, null]]", "entry 1 is no number"},
           {"[[1, -2]]", "expert 1: the load -2"},
           {"[[1, NaN]]", ":1:17: this is no JSON"},
           {"[[1, 2]], \"weight\": [[1, 2]]", "is there twice"},
           {"[[1, [2]]]", "entry 1 is no number"},
           {"[[1, 2], [3, \"a\"], 4, [], [5]]", "layer 4 has 1 entries"},
           {"[[1, 2], 3]", "layer 1 is no list"},
           {"[]", "one list for each layer"}}) {
    std::ofstream(input) << R"({"weight": )" << weights << "}";
    const Result bad = run({"balance", "--input", input, "--replicas", "2", "--gpus", "1"});
    EXPECT_EQ(bad.code, kConfiguration) << weights;
    EXPECT_NE(bad.err.find(why), std::string::npos) << bad.err;
  }
  std::ofstream(input) << R"({"weight": [[1, 2], [3]]})";
  const Result ragged = run({"balance", "--input", input, "--replicas", "2", "--gpus", "1"});
  EXPECT_EQ(ragged.code, kConfiguration);
  EXPECT_NE(ragged.err.find("layer 1 has 1 entries"), std::string::npos) << ragged.err;
  std::filesystem::remove_all(dir);
}

TEST(Cli, AModelIsShownFromItsConfigJson) {
  const std::string config = WEFT_SOURCE_DIR "/deploy/models/deepseek-v3.config.json";
  const Result shown = run(
      {"model", "show", config, "--json", "--pipeline", "16", "--data", "128", "--expert", "64"});
  ASSERT_EQ(shown.code, kOk) << shown.err;
  const json model = json::parse(shown.out);
  EXPECT_EQ(model["parameters"]["total"], 671'026'419'200);
  EXPECT_EQ(model["bytes_per_rank"].size(), 16u);
  // DualPipe holds two stages a rank, mirrored: position p as much as position P-1-p.
  EXPECT_EQ(model["bytes_per_rank"][3]["weights"], model["bytes_per_rank"][12]["weights"]);
  EXPECT_NE(run({"model", "show", config}).out.find("671,026,419,200"), std::string::npos);
  EXPECT_EQ(run({"model", "show", "/nonexistent"}).code, kBadData);
  // A job's model, in the job's own layout.
  const std::string job = WEFT_SOURCE_DIR "/deploy/jobs/r1-zero-arithmetic.yaml";
  const Result for_a_cluster =
      run({"model", "show", WEFT_SOURCE_DIR "/deploy/jobs/v3-pretrain.yaml"});
  EXPECT_EQ(for_a_cluster.code, kOk) << for_a_cluster.err;
  const json of_job = json::parse(run({"model", "show", job, "--json"}).out);
  EXPECT_GT(of_job["parameters"]["total"], 100'000);
  EXPECT_GE(of_job["bytes_per_rank"].size(), 1u);
  EXPECT_NE(of_job["bytes_assume"].dump().find("BF16"), std::string::npos);
}

TEST(Cli, DataShowMakesTheBordersOfDocumentsVisible) {
  const std::string file = WEFT_SOURCE_DIR "/LICENSE";
  const std::vector<std::string> show = {"data",
                                         "show",
                                         file,
                                         "--set",
                                         "data.document=paragraph",
                                         "--set",
                                         "data.validation_fraction=0",
                                         "--set",
                                         "data.context=512"};
  const Result text = run(show);
  ASSERT_EQ(text.code, kOk) << text.err;
  EXPECT_NE(text.out.find("<｜end▁of▁sentence｜><｜begin▁of▁sentence｜>"), std::string::npos)
      << text.out;
  std::vector<std::string> with_json = show;
  with_json.insert(with_json.end(), {"--sample", "1", "--json"});
  const json shown = json::parse(run(with_json).out);
  EXPECT_EQ(shown["pretrain"]["samples"].size(), 1u);
  EXPECT_GT(shown["pretrain"]["sources"][0]["documents"], 2);
  EXPECT_EQ(run({"data", "show", "/nonexistent"}).code, kBadData);
  EXPECT_EQ(run({"data", "show", kJob}).code, kConfiguration);
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
       {"check",  "explain", "schema", "run",      "resume",     "status",   "ls",       "logs",
        "events", "samples", "ckpt",   "generate", "trace",      "schedule", "balance",  "bench",
        "model",  "version", "help",   "plan",     "completion", "cluster",  "rehearse", "drift",
        "agent",  "cancel",  "pause",  "continue", "nodes",      "data",     "tokenizer"}) {
    const Result result = run({verb, "--help"});
    EXPECT_EQ(result.code, kOk);
    EXPECT_TRUE(result.out.starts_with("Example:\n  weft " + std::string(verb))) << result.out;
    EXPECT_EQ(run({"help", verb}).out, result.out);
  }
  const std::string root = run({"help"}).out;
  for (const char* code : {" 65 ", " 69 ", " 75 ", " 78 ", " 124 ", " 130 "})
    EXPECT_NE(root.find(code), std::string::npos) << code;
}

/// The command lines among the indented examples of a page, continued lines joined, comments gone.
std::vector<std::string> examples_of(const fs::path& page) {
  std::vector<std::string> found;
  std::ifstream file(page);
  for (std::string line, whole; std::getline(file, line);) {
    if (!line.starts_with("    ")) continue;
    line = line.substr(0, line.find(" #"));
    const bool goes_on = line.ends_with("\\");
    whole += line.substr(0, line.size() - (goes_on ? 1 : 0)) + " ";
    if (goes_on) continue;
    std::istringstream commands(std::exchange(whole, ""));
    for (std::string one; std::getline(commands, one, ';');) found.push_back(one);
  }
  return found;
}

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream text(line);
  std::vector<std::string> words;
  for (std::string word; text >> word;) words.push_back(word);
  return words;
}

/// What an example names that is not there: a verb, a flag of it, or a file of the repository.
std::string missing_in(const std::vector<std::string>& words) {
  for (const std::string& word : words)
    if ((word.starts_with("deploy/") || word.starts_with("tests/")) &&
        word.find_first_of("*<{[") == std::string::npos && !fs::exists(WEFT_SOURCE_DIR "/" + word))
      return word;
  if (words.front() != "weft" || words.size() < 2) return {};
  std::vector<std::string> verb = {"help", words[1]};
  Result help = run(verb);
  if (help.code != kOk) return "verb " + words[1];
  for (std::size_t i = 2; i < words.size() && help.out.find(" VERB\n") != std::string::npos; ++i) {
    verb.push_back(words[i]);
    help = run(verb);
    if (help.code != kOk) return "verb " + words[1] + " " + words[i];
  }
  for (const std::string& word : words)
    if (const std::string flag = word.substr(0, word.find('='));
        flag.starts_with("--") && help.out.find(flag) == std::string::npos)
      return flag + " of " + words[1];
  return {};
}

TEST(Cli, EveryExampleOfThePagesNamesVerbsFlagsAndFilesThatThereAre) {
  int examples = 0;
  for (fs::recursive_directory_iterator at(WEFT_SOURCE_DIR), end; at != end; ++at) {
    const std::string name = at->path().filename().string();
    if (at->is_directory() && (name == "build" || name == "runs" || name.starts_with(".")))
      at.disable_recursion_pending();
    if (name != "README.md") continue;
    for (const std::string& line : examples_of(at->path())) {
      const std::vector<std::string> words = words_of(line);
      if (words.empty()) continue;
      examples += words.front() == "weft";
      EXPECT_EQ(missing_in(words), "") << at->path() << ": " << line;
    }
  }
  EXPECT_GT(examples, 60);
}

TEST(Cli, BalanceSaysAllThatIsWrongAtOnceAndWhatWouldDo) {
  const Result bad = run({"balance", "--input", WEFT_SOURCE_DIR "/deploy/loads/skewed.json",
                          "--replicas", "250", "--groups", "7", "--nodes", "3", "--gpus", "32"});
  EXPECT_EQ(bad.code, kConfiguration);
  for (const char* part : {"do not divide over 3 nodes", "250 replicas do not divide",
                           "into 7 groups", "would do: --replicas "})
    EXPECT_NE(bad.err.find(part), std::string::npos) << part << "\n" << bad.err;
}

TEST(Cli, BalanceWithoutLoadsOrSlotsIsUsage) {
  EXPECT_EQ(run({"balance"}).code, kUsage);
  const Result result =
      run({"balance", "--input", WEFT_SOURCE_DIR "/deploy/loads/skewed.json", "--gpus", "32"});
  EXPECT_EQ(result.code, kUsage);
  EXPECT_NE(result.err.find("--replicas N"), std::string::npos) << result.err;
}

TEST(Cli, BenchCommSeesTheSimulatedLinksAsTheyAre) {
  const Result result = run(
      {"bench", "comm", "--transport", "sim", "--ranks", "3", "--bytes", "64KiB,1MiB", "--json"});
  ASSERT_EQ(result.code, kOk) << result.err;
  const json report = json::parse(result.out);
  EXPECT_EQ(report["schema"], "weft.bench_comm/v1");
  ASSERT_EQ(report["items"].size(), 5u);  // 64 B, then each size sent and all to all
  // 5 us and 10 GB/s.
  EXPECT_NEAR(report["items"][0]["microseconds"].get<double>(), 5.0064, 0.01);
  EXPECT_NEAR(report["items"][2]["microseconds"].get<double>(), 5 + 104.8576, 0.01);
}

TEST(Cli, BenchCommRefusesWhatCannotBe) {
  for (const auto& [words, part] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--bytes", "3x"}, "--bytes"},
           {{"--bytes", "0"}, "1 to"},
           {{"--ranks", "200", "--bytes", "1GiB"}, "200 ranks"},
           {{"--ranks", "0"}, "from 1 to 256"},
           {{"--transport", "mpi"}, "mpi"},
           {{"--transport", "pigeon"}, "pigeon"}}) {
    std::vector<std::string> line = {"bench", "comm"};
    line.insert(line.end(), words.begin(), words.end());
    const Result result = run(line);
    EXPECT_NE(result.code, kOk);
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  }
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

  SystemClock clock;
  const test::Scratch scratch;
  const fs::path parent = scratch.path();
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

TEST_F(CliRun, LsTellsPausedAndWaitingFromRunningAndShowsTheReward) {
  ASSERT_TRUE(store->append_metrics({{"step", 2}, {"stage", "grpo"}, {"reward", 0.875}}));
  for (const std::string phase : {"paused", "waiting", "running"}) {
    ASSERT_TRUE(store->describe({{"phase", phase}}));
    const std::string listed = run({"ls", parent.string()}).out;
    EXPECT_NE(listed.find((phase == "running" ? "● " : "‖ ") + phase), std::string::npos) << listed;
    EXPECT_NE(listed.find("0.875"), std::string::npos) << listed;
    EXPECT_EQ(json::parse(run({"status", root, "--json"}).out)["state"], "running");
  }
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
