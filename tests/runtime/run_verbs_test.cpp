// The reading verbs and `generate` on a real run: what a user and a script get from them.
#include <gtest/gtest.h>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// One GRPO run for all of them.
const std::string& run() {
  static Place place;
  static const std::string directory = [] {
    const std::string path = (place / "run").string();
    const Ended ended = weft({"run", place.grpo_job(), "--dir", path});
    EXPECT_EQ(ended.code, 0) << ended.err;
    return path;
  }();
  return directory;
}

Ended verb(const std::vector<std::string>& arguments) { return weft(arguments); }

json json_of(const std::vector<std::string>& arguments) {
  const Ended ended = weft(arguments);
  EXPECT_EQ(ended.code, 0) << ended.err;
  const json parsed = json::parse(ended.out, nullptr, false);
  EXPECT_TRUE(parsed.is_object()) << ended.out;
  return parsed;
}

std::vector<json> jsonl_of(const std::string& text) {
  std::vector<json> records;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) records.push_back(json::parse(line));
  return records;
}

TEST(RunVerbs, EachReadingVerbsJsonParsesAndNamesItsSchema) {
  for (const auto& [arguments, schema] :
       std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"status", run(), "--json"}, "weft.status/v1"},
           {{"ls", fs::path(run()).parent_path().string(), "--json"}, "weft.ls/v1"},
           {{"logs", run(), "--json"}, "weft.logs/v1"},
           {{"events", run(), "--json"}, "weft.events/v1"},
           {{"samples", run(), "--json"}, "weft.samples/v1"},
           {{"ckpt", "ls", run(), "--json"}, "weft.ckpt.ls/v1"},
           {{"ckpt", "show", run(), "--json"}, "weft.ckpt.show/v1"},
           {{"ckpt", "verify", run(), "--json"}, "weft.ckpt.verify/v1"},
           {{"generate", run(), "--prompt", "1+2=", "--json"}, "weft.generate/v1"}})
    EXPECT_EQ(json_of(arguments)["schema"], schema);
}

TEST(RunVerbs, StatusTellsHowFarItIs) {
  const json status = json_of({"status", run(), "--json"});
  EXPECT_EQ(status["state"], "finished");
  EXPECT_EQ(status["alive"], false);
  EXPECT_EQ(status["step"], 18);
  EXPECT_EQ(status["steps_planned"], 18);
  EXPECT_EQ(status["stage"], "grpo");
  EXPECT_TRUE(status["last_metrics"]["reward"].is_number());
  EXPECT_EQ(verb({"status", run(), "--expect", "finished"}).code, 0);
  EXPECT_EQ(verb({"status", run(), "--expect", "running"}).code, 1);
}

TEST(RunVerbs, SamplesAreFilteredByStepAndReward) {
  const auto all = jsonl_of(verb({"samples", run(), "--step", "13", "-o", "jsonl"}).out);
  ASSERT_EQ(all.size(), 8u);
  EXPECT_EQ(all[0]["step"], 13);
  const auto none =
      jsonl_of(verb({"samples", run(), "--step", "13", "--min-reward", "99", "-o", "jsonl"}).out);
  EXPECT_TRUE(none.empty());
  const auto rest =
      jsonl_of(verb({"samples", run(), "--step", "13", "--max-reward", "99", "-o", "jsonl"}).out);
  EXPECT_EQ(rest.size(), 8u);
  const Ended unknown = verb({"samples", run(), "--step", "1"});
  EXPECT_EQ(unknown.code, 65);
  EXPECT_NE(unknown.err.find("13"), std::string::npos) << unknown.err;
}

TEST(RunVerbs, EventsAndLogsAreThere) {
  const auto stages = jsonl_of(verb({"events", run(), "--kind", "stage", "-o", "jsonl"}).out);
  EXPECT_EQ(stages.size(), 3u);
  const Ended logs = verb({"logs", run(), "--rank", "1"});
  EXPECT_NE(logs.out.find("ready: rank 1 of 2"), std::string::npos) << logs.out;
  EXPECT_EQ(verb({"logs", run(), "--rank", "2"}).code, 65);
}

TEST(RunVerbs, CheckpointsAreListedShownAndVerified) {
  const Ended listed = verb({"ckpt", "ls", run(), "-o", "name"});
  EXPECT_EQ(listed.out, "step-000000014\nstep-000000016\nstep-000000018\n") << listed.out;
  const json shown = json_of({"ckpt", "show", run(), "--step", "16", "--json"});
  EXPECT_EQ(shown["step"], 16);
  EXPECT_EQ(shown["layout"]["pipeline"], 2);
  EXPECT_EQ(shown["layout"]["schedule"], "dualpipe");
  bool reference = false;
  for (const json& tensor : shown["tensors"]) reference |= tensor["item"] == "ref";
  EXPECT_TRUE(reference) << "a run with a KL term keeps its reference";
  const json verified = json_of({"ckpt", "verify", run(), "--json"});
  for (const json& one : verified["items"]) EXPECT_EQ(one["ok"], true);
  const Ended unknown = verb({"ckpt", "show", run(), "--step", "7"});
  EXPECT_EQ(unknown.code, 65);
  EXPECT_NE(unknown.err.find("step-000000018"), std::string::npos) << "it says what there is";
}

TEST(Generate, IsAFunctionOfCheckpointPromptAndSeed) {
  const std::vector<std::string> base = {"generate", run(),          "--prompt", "1+2+3=", "-n",
                                         "3",        "--max-tokens", "12",       "-o",     "json"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = base;
    arguments.insert(arguments.end(), more.begin(), more.end());
    return verb(arguments).out;
  };
  const std::string once = with({"--seed", "5"});
  EXPECT_EQ(with({"--seed", "5"}), once);
  EXPECT_NE(with({"--seed", "6"}), once);
  const json answers = json::parse(once)["items"];
  ASSERT_EQ(answers.size(), 3u);
  for (const json& answer : answers) {
    EXPECT_EQ(answer["prompt"], "1+2+3=");
    EXPECT_LE(answer["tokens"].size(), 12u);
    EXPECT_EQ(answer["logprobs"].size(), answer["tokens"].size());
  }
  EXPECT_NE(answers[0]["tokens"], answers[1]["tokens"]) << "completions differ from each other";
}

TEST(Generate, AtTemperatureZeroTakesTheLikeliestWhateverTheSeed) {
  const auto with_seed = [](const std::string& seed) {
    return json::parse(verb({"generate", run(), "--prompt", "1+2=", "--temperature", "0", "-n", "2",
                             "--seed", seed, "-o", "json"})
                           .out)["items"];
  };
  const json answers = with_seed("1");
  EXPECT_EQ(answers[0]["tokens"], answers[1]["tokens"]);
  EXPECT_EQ(with_seed("2")[0]["tokens"], answers[0]["tokens"]);
}

TEST(Generate, TakesTheCheckpointThatIsAskedFor) {
  EXPECT_EQ(verb({"generate", run(), "--prompt", "1+2=", "--checkpoint", "16"}).code, 0);
  const Ended unknown = verb({"generate", run(), "--prompt", "1+2=", "--checkpoint", "7"});
  EXPECT_EQ(unknown.code, 65);
  EXPECT_NE(unknown.err.find("weft ckpt ls"), std::string::npos) << unknown.err;
}

TEST(Generate, RefusesAPromptThatLeavesNoRoom) {
  const Ended ended = verb({"generate", run(), "--prompt", std::string(300, 'x')});
  EXPECT_EQ(ended.code, 2) << ended.err;
  EXPECT_EQ(ended.out, "");
  EXPECT_NE(ended.err.find("128"), std::string::npos) << ended.err;
}

TEST(Generate, BeforeTheFirstCheckpointSaysSo) {
  Place place;
  const std::string young = (place / "young").string();
  Weft child({"run", place.supervised_job(), "--dir", young, "--set",
              "checkpoint.every_steps=1000000", "--set", "pretrain.steps=1000000"});
  ASSERT_TRUE(eventually([&] { return steps_of(young) > 0; }));
  const Ended ended = verb({"generate", young, "--prompt", "1+2="});
  EXPECT_EQ(ended.code, 65) << ended.err;
  EXPECT_NE(ended.err.find("no complete checkpoint"), std::string::npos) << ended.err;
}

TEST(RunVerbs, ADirectoryThatIsNoRunIsNamed) {
  Place place;
  for (const char* name : {"status", "logs", "events", "samples", "resume"}) {
    const Ended ended = verb({name, (place / "none").string()});
    EXPECT_EQ(ended.code, 65) << name;
    EXPECT_NE(ended.err.find("none"), std::string::npos) << ended.err;
  }
}

}  // namespace
}  // namespace weft::test
