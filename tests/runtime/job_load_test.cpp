#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/job/fields.h"
#include "runtime/job/load.h"
#include "runtime/job/serial.h"
#include "tests/scratch.h"

namespace weft::runtime {
namespace {

std::string printed(std::string_view text, std::vector<std::string> set = {}) {
  const Loaded loaded = load_job_text(text, "job.yaml", {.overrides = {{}, std::move(set)}});
  return print(loaded.diagnostics);
}

TEST(JobLoad, AnEmptyFileIsTheDefaultJob) {
  const Loaded loaded = load_job_text("", "job.yaml");
  EXPECT_TRUE(loaded.ok()) << print(loaded.diagnostics);
  EXPECT_EQ(to_json(loaded.job), to_json(Job{}));
}

TEST(JobLoad, RedundantExpertsAreThoseThatARankDoesNotHold) {
  const std::vector<std::string> base = {"model.n_routed_experts=8", "parallel.data=4"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), base.begin(), base.end());
    return printed("", std::move(more));
  };
  EXPECT_EQ(with({"parallel.expert=4", "parallel.redundant_experts=6"})
                .find("parallel.redundant_experts"),
            std::string::npos);
  EXPECT_NE(with({"parallel.expert=4", "parallel.redundant_experts=7"}).find("at most 6"),
            std::string::npos);
  EXPECT_NE(with({"parallel.redundant_experts=1"}).find("is not used while parallel.expert = 1"),
            std::string::npos);
  EXPECT_NE(with({"parallel.redundant_experts=-1"}).find("error"), std::string::npos);
}

TEST(JobLoad, EveryValueKnowsWhereItCameFrom) {
  LoadOptions options;
  options.overrides.environment = {{"WEFT__GRPO__BETA", "0.01"}, {"WEFT__GRPO__LR", "1e-4"}};
  options.overrides.set = {"grpo.lr=2e-4"};
  const Loaded loaded =
      load_job_text("name: a\ngrpo:\n  beta: 0.5\n  lr: 1e-5\n", "job.yaml", options);
  ASSERT_TRUE(loaded.ok()) << print(loaded.diagnostics);
  EXPECT_EQ(loaded.job.grpo.beta, 0.01);
  EXPECT_EQ(loaded.job.grpo.lr, 2e-4);
  EXPECT_EQ(to_string(loaded.origins.at("name")), "job.yaml:1");
  EXPECT_EQ(to_string(loaded.origins.at("grpo.beta")), "env WEFT__GRPO__BETA");
  EXPECT_EQ(to_string(loaded.origins.at("grpo.lr")), "--set");
  EXPECT_EQ(to_string(loaded.origins.at("seed")), "default");
}

/// A config.json in a directory that is gone at the end.
class ModelFileTest : public testing::Test {
 protected:
  std::string student(const std::string& more = "") {
    const std::string text = R"({"model_type": "qwen3", "vocab_size": 512, "hidden_size": 64,
      "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
      "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128)" +
                             more + "}";
    std::ofstream(directory / "config.json") << text;
    return directory / "config.json";
  }
  Loaded load(const std::string& text, std::vector<std::string> set = {}) {
    return load_job_text(text, (directory / "job.yaml").string(),
                         {.overrides = {{}, std::move(set)}, .check_files = false});
  }
  const test::Scratch scratch;
  const std::filesystem::path directory = scratch.path();
};

TEST_F(ModelFileTest, GivesTheModelAndTheJobsOwnFieldsWinWhereverTheyStand) {
  student();
  const Loaded loaded =
      load("model: {num_hidden_layers: 2, config: config.json, vocab_size: 400}\n");
  ASSERT_TRUE(loaded.ok()) << print(loaded.diagnostics);
  EXPECT_TRUE(loaded.diagnostics.empty()) << print(loaded.diagnostics);
  const trainer::ModelConfig& model = loaded.job.model;
  EXPECT_EQ(model.model_type, "qwen3");
  EXPECT_TRUE(model.qk_norm);
  EXPECT_EQ(model.kv_lora_rank, 0);
  EXPECT_EQ(model.n_routed_experts, 0);
  EXPECT_EQ(model.head_dim, 16);
  EXPECT_EQ(model.num_hidden_layers, 2);
  EXPECT_EQ(model.vocab_size, 400);
  EXPECT_EQ(to_string(loaded.origins.at("model.head_dim")), directory / "config.json");
  // Another file on the command line replaces the first one's values, not the job's.
  std::filesystem::rename(directory / "config.json", directory / "other.json");
  student();
  const Loaded other = load("model: {num_hidden_layers: 2, config: config.json}\n",
                            {"model.config=" + (directory / "other.json").string()});
  EXPECT_EQ(other.job.model.num_hidden_layers, 2);
  EXPECT_EQ(to_string(other.origins.at("model.head_dim")), directory / "other.json");
}

TEST_F(ModelFileTest, WeightsStoredInFp8AreALineWhereTheJobTrainsInAnotherPrecision) {
  student(R"(, "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]})");
  const std::string use = "model: {config: config.json}\n";
  const Loaded other = load(use + "precision: bf16\n");
  EXPECT_TRUE(other.ok());
  EXPECT_EQ(print(other.diagnostics),
            (directory / "config.json").string() +
                ": warning: its weights are stored in FP8, this job trains with precision: bf16; "
                "say precision: fp8 if it should do as they did\n1 warning.\n");
  const Loaded same = load(use + "precision: fp8\n");
  EXPECT_TRUE(same.diagnostics.empty()) << print(same.diagnostics);
  EXPECT_TRUE(load(to_yaml(other.job, other.origins)).diagnostics.empty()) << "said once";
}

TEST_F(ModelFileTest, IsNotNeededByTheResolvedJob) {
  student();
  const Loaded loaded = load("model: {config: config.json}\n");
  ASSERT_TRUE(loaded.ok()) << print(loaded.diagnostics);
  std::filesystem::remove(directory / "config.json");
  const Loaded again = load(to_yaml(loaded.job, loaded.origins));
  EXPECT_TRUE(again.diagnostics.empty()) << print(again.diagnostics);
  EXPECT_EQ(again.job.model, loaded.job.model);
  EXPECT_EQ(fingerprint(again.job), fingerprint(loaded.job));
  const auto wired = from_json(to_json(loaded.job));
  ASSERT_TRUE(wired) << wired.error().message;
  EXPECT_EQ(wired->model, loaded.job.model);
}

TEST_F(ModelFileTest, WhatIsWrongWithItIsSaidAtTheJobsLine) {
  const auto said = [&](const std::string& text) { return print(load(text).diagnostics); };
  const std::string use = "model: {config: config.json}\n";
  EXPECT_NE(said(use).find("job.yaml:1:"), std::string::npos) << said(use);
  student(R"(, "rope_scaling": {"type": "linear", "factor": 2})");
  EXPECT_NE(said(use).find("only yarn and default"), std::string::npos) << said(use);
  student(R"(, "fancy": 1)");
  EXPECT_NE(said(use).find("fancy is not understood"), std::string::npos) << said(use);
  EXPECT_NE(said("model: {config: .}\n").find("is not a file"), std::string::npos);
  student(R"(, "tie_word_embeddings": true)");
  EXPECT_NE(said(use + "parallel: {pipeline: 2}\n").find("on one stage"), std::string::npos);
  EXPECT_NE(said("model: {config: config.json, v_head_dim: 8}\n").find("v_head_dim has no effect"),
            std::string::npos);
}

TEST(JobLoad, AnotherSystemsNameIsTakenWithAWarning) {
  const Loaded loaded = load_job_text("rollout:\n  n: 4\n", "job.yaml");
  EXPECT_TRUE(loaded.ok());
  EXPECT_EQ(loaded.job.grpo.num_generations, 4);
  EXPECT_EQ(print(loaded.diagnostics),
            "job.yaml:2:3: warning: 'rollout.n' is verl's name; here it is 'grpo.num_generations'\n"
            "    n: 4\n"
            "    ^\n"
            "  hint: its value is taken                              (weft explain "
            "grpo.num_generations)\n"
            "1 warning.\n");
}

TEST(JobLoad, BlocksOfActivationGradientsInFp8AreRefusedWithTheReason) {
  const std::string text = printed(
      "precision: fp8\nfp8:\n  gradient_tiles: 128x128\nparallel:\n  dispatch_payload: fp8\n");
  EXPECT_NE(text.find("job.yaml:3:"), std::string::npos) << text;
  EXPECT_NE(text.find("16B model diverged"), std::string::npos) << text;
  EXPECT_NE(text.find("fp8.gradient_tiles: 1x128"), std::string::npos) << text;
  EXPECT_EQ(printed("precision: fp8\nfp8:\n  scales: power_of_two\n"
                    "parallel:\n  dispatch_payload: fp8\n"),
            "");
}

TEST(JobLoad, Fp8FieldsThatDoNothingAreSaid) {
  EXPECT_NE(printed("fp8:\n  scales: power_of_two\n").find("not read while precision = f32"),
            std::string::npos);
  EXPECT_NE(printed("precision: fp8\n").find("parallel.dispatch_payload: fp8"), std::string::npos);
}

TEST(JobLoad, TypesAreOursAndStrict) {
  EXPECT_NE(printed("parallel:\n  overlap: yes\n").find("write true or false"), std::string::npos);
  EXPECT_NE(printed("parallel:\n  threads: 010\n").find("write 10"), std::string::npos);
  EXPECT_NE(printed("pretrain:\n  steps: 1e3\n").find("write 1000"), std::string::npos);
  EXPECT_NE(printed("control:\n  wait_bound: 60\n").find("with a unit"), std::string::npos);
  EXPECT_NE(printed("grpo:\n  beta:\n").find("has no value"), std::string::npos);
  EXPECT_NE(printed("grpo:\n  temperature: 0\n").find("it must be above 0"), std::string::npos);
  EXPECT_NE(printed("grpo: 3\n").find("is a group of fields"), std::string::npos);
  EXPECT_EQ(load_job_text("pretrain:\n  steps: 1.5K\n", "j").job.pretrain.steps, 1500);
  EXPECT_EQ(load_job_text("control:\n  wait_bound: 2m\n", "j").job.control.wait_bound_s, 120);
}

TEST(JobLoad, OverridesAreCheckedLikeTheFile) {
  EXPECT_EQ(printed("", {"grpo.betta=1"}),
            "--set: error: unknown key 'betta' in 'grpo'\n"
            "    grpo.betta=1\n"
            "    ^~~~~~~~~~\n"
            "  hint: did you mean 'beta'?                            (weft explain grpo.beta)\n"
            "1 error — nothing was started.\n");
  EXPECT_NE(printed("", {"oops"}).find("is not key=value"), std::string::npos);
  const Loaded lists = load_job_text(
      "", "j",
      {.overrides = {{}, {"recipe=[pretrain, grpo]", "rewards=[{name: accuracy.answer}]"}}});
  EXPECT_TRUE(lists.ok()) << print(lists.diagnostics);
  EXPECT_EQ(lists.job.recipe.size(), 2u);
  EXPECT_EQ(lists.job.rewards.size(), 1u);
}

TEST(JobLoad, AVirtualDeviceAsksForALayoutAndNothingOfTheModel) {
  const std::string job =
      "device: virtual\nparallel: {schedule: dualpipe, pipeline: 8, micro_batches: 20}\n";
  EXPECT_EQ(printed(job), "");
  EXPECT_EQ(printed(job, {"data.task=text", "model.num_hidden_layers=1", "recipe=[grpo]"}), "");
  for (const auto& [set, what] : std::vector<std::pair<std::string, std::string>>{
           {"parallel.micro_batches=3", "Nearest legal"},
           {"virtual.stage_factors=1 2", "has 2 numbers, but dualpipe over 8 positions has 8"},
           {"virtual.stage_factors=1 x", "'x' is not a number"},
           {"virtual.forward_ms=-1", "virtual.forward_ms"},
           {"virtual.exchange_ms=5", "there is no other lane"},
           {"virtual.message_bytes=10", "at least 64"}})
    EXPECT_NE(printed(job, {set}).find(what), std::string::npos) << set << printed(job, {set});
  EXPECT_NE(printed("virtual: {layers: 7}\n").find("not used while device = cpu"),
            std::string::npos);
}

TEST(JobLoad, AMissingFileIsADiagnostic) {
  const Loaded loaded = load_job("/no/such/job.yaml");
  ASSERT_FALSE(loaded.ok());
  EXPECT_NE(print(loaded.diagnostics).find("/no/such/job.yaml"), std::string::npos);
}

TEST(JobSerial, ResolvedYamlLoadsToTheSameJob) {
  Job job;
  job.name = "x-1";
  job.data.path = "a b\"c\\d: #e";
  job.data.task = "text";
  job.grpo.lr = 1.0 / 3.0;
  job.control.wait_bound_s = 0.25;
  job.control.heartbeat_s = 0.1;
  job.rewards = {{"format.think_answer", 0.1}};
  LoadOptions options;
  options.check_files = false;
  const Loaded again = load_job_text(to_yaml(job), "config.resolved.yaml", options);
  ASSERT_TRUE(again.ok()) << print(again.diagnostics);
  EXPECT_EQ(to_json(again.job), to_json(job));
}

TEST(JobSerial, FingerprintSeesWhatDecidesTheNumbersAndNothingElse) {
  Job a, b;
  b.checkpoint.keep = 7;
  b.parallel.threads = 2;
  EXPECT_EQ(fingerprint(a), fingerprint(b));
  b.model.hidden_size = 64;
  EXPECT_NE(fingerprint(a), fingerprint(b));
  EXPECT_EQ(numeric_differences(a, b), std::vector<std::string>{"model.hidden_size"});
}

}  // namespace
}  // namespace weft::runtime
