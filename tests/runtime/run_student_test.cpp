// A dense model with grouped-query attention, from its config.json through a whole run.
#include <gtest/gtest.h>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kStudent = R"({"architectures": ["Qwen3ForCausalLM"],
  "model_type": "qwen3", "vocab_size": 320, "hidden_size": 32, "intermediate_size": 48,
  "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
  "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 1000, "hidden_act": "silu",
  "rope_scaling": {"type": "yarn", "factor": 2, "original_max_position_embeddings": 32},
  "tie_word_embeddings": false, "initializer_range": 0.1})";

TEST(RunStudent, TrainsThroughDualPipeAndItsRunNeedsNoConfigJson) {
  const Place place;
  const std::string config = place.file("student.config.json", kStudent);
  const std::string job = place.file("student.yaml", R"(
name: student
seed: 7
recipe: [pretrain]
model: {config: student.config.json}
data: {task: arithmetic, min_difficulty: 2, max_difficulty: 2}
parallel: {pipeline: 2, data: 1, schedule: dualpipe, micro_batches: 4}
pretrain: {steps: 12, batch: 8, lr: 1e-2, warmup: 1, eval_problems: 4}
checkpoint: {every_steps: 6, keep: 2}
)");
  const fs::path run = place / "run";
  const Ended ended = weft({"run", job, "--dir", run.string()});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const std::vector<json> steps = metrics_of(run);
  ASSERT_EQ(steps.size(), 12u);
  EXPECT_LT(steps.back()["loss"].get<double>(), 0.9 * steps.front()["loss"].get<double>());
  fs::remove(config);
  const Ended checked = weft({"check", (run / "config.resolved.yaml").string()});
  EXPECT_EQ(checked.code, 0) << checked.err;
}

}  // namespace
}  // namespace weft::test
