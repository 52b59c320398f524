// A stage and everything it needs, and the whole pass of one micro-batch, for tests.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "comm/communicator.h"
#include "trainer/model/stage_model.h"

namespace weft::trainer {

inline ModelConfig small_config() {
  ModelConfig c;
  c.vocab_size = 11;
  c.hidden_size = 12;
  c.intermediate_size = 10;
  c.moe_intermediate_size = 6;
  c.num_hidden_layers = 2;
  c.first_k_dense_replace = 1;
  c.num_attention_heads = 2;
  c.n_routed_experts = 4;
  c.num_experts_per_tok = 2;
  c.n_group = 2;
  c.topk_group = 2;
  c.routed_scaling_factor = 1.5;
  c.q_lora_rank = 7;
  c.kv_lora_rank = 5;
  c.qk_nope_head_dim = 3;
  c.qk_rope_head_dim = 4;
  c.v_head_dim = 5;
  c.max_position_embeddings = 64;
  c.initializer_range = 0.3;
  return c;
}

/// A dense model with grouped-query attention; type: llama, qwen2 or qwen3.
inline ModelConfig student_config(const std::string& type) {
  ModelConfig c = small_config();
  c.model_type = type;
  c.kv_lora_rank = c.q_lora_rank = 0;
  c.n_routed_experts = 0;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.head_dim = 6;
  c.attention_bias = type == "qwen2";
  c.qk_norm = type == "qwen3";
  return c;
}

/// The main job's shape.
inline ModelConfig job_config() {
  ModelConfig c;
  c.vocab_size = 384;
  return c;
}

/// One rank alone.
struct Alone {
  std::unique_ptr<comm::Transport> transport = comm::make_self_transport();
  std::unique_ptr<comm::Communicator> group;
  kernels::Context context;

  explicit Alone(int threads = 1) : context(threads) {
    const std::vector<comm::GroupSpec> specs = {{"experts", {0}}};
    group = std::move(transport->make_groups(specs).value()[0]);
  }
};

/// Sequences of these lengths with random tokens; each token predicts the next one.
inline MicroBatch random_batch(const ModelConfig& config, const std::vector<int>& lengths,
                               std::uint64_t seed, LossKind loss = LossKind::CrossEntropy) {
  MicroBatch batch;
  batch.loss = loss;
  batch.grpo.beta = 0.1;
  batch.sequence_begin = {0};
  Rng rng(seed, "batch");
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    batch.sequence_id.push_back(static_cast<int>(s));
    batch.cache_row.push_back(static_cast<int>(s));
    for (int p = 0; p < lengths[s]; ++p) {
      const auto vocab = static_cast<std::uint32_t>(config.vocab_size);
      batch.tokens.push_back(static_cast<int>(rng.below(vocab)));
      batch.positions.push_back(p);
      // Some tokens have no loss.
      batch.targets.push_back(rng.below(5) == 0 ? -1 : static_cast<int>(rng.below(vocab)));
      batch.weight.push_back(static_cast<float>(0.5 + rng.uniform()));
      batch.advantage.push_back(static_cast<float>(rng.normal()));
      batch.old_logprob.push_back(
          rng.below(3) == 0 ? std::nanf("") : static_cast<float>(-2.4 + 0.3 * rng.normal()));
      batch.ref_logprob.push_back(static_cast<float>(-2.4 + 0.3 * rng.normal()));
    }
    batch.sequence_begin.push_back(batch.num_tokens());
  }
  return batch;
}

inline void forward(StageModel& model, int slot) {
  if (model.spec().embedding) model.embed(slot);
  for (int l = 0; l < model.spec().num_layers; ++l) {
    const bool moe = model.config().is_moe(model.spec().first_layer + l);
    model.attention(slot, l);
    if (moe) {
      ASSERT_TRUE(model.begin_dispatch(slot, l));
      ASSERT_TRUE(model.end_dispatch(slot, l));
    }
    model.experts(slot, l);
    if (moe) {
      ASSERT_TRUE(model.begin_combine(slot, l));
      ASSERT_TRUE(model.end_combine(slot, l));
    }
  }
  if (model.spec().head) model.head(slot);
}

inline void backward_input(StageModel& model, int slot) {
  if (model.spec().head) model.head_backward_input(slot);
  for (int l = model.spec().num_layers - 1; l >= 0; --l) {
    const bool moe = model.config().is_moe(model.spec().first_layer + l);
    const bool again = model.recompute() == Recompute::Full;
    if (again) model.attention_again(slot, l);
    if (again && moe) {
      ASSERT_TRUE(model.begin_dispatch_again(slot, l));
      ASSERT_TRUE(model.end_dispatch_again(slot, l));
    }
    if (moe) {
      ASSERT_TRUE(model.begin_combine_backward(slot, l));
    }
    if (again) model.experts_again(slot, l);
    if (moe) {
      ASSERT_TRUE(model.end_combine_backward(slot, l));
    }
    model.experts_backward_input(slot, l);
    if (moe) {
      ASSERT_TRUE(model.begin_dispatch_backward(slot, l));
      ASSERT_TRUE(model.end_dispatch_backward(slot, l));
    }
    model.attention_backward_input(slot, l);
  }
}

/// Weight gradients after all input gradients: what a deferred W action does.
inline void backward_weights(StageModel& model, int slot) {
  if (model.spec().head) model.head_backward_weights(slot);
  for (int l = model.spec().num_layers - 1; l >= 0; --l) {
    model.experts_backward_weights(slot, l);
    model.attention_backward_weights(slot, l);
  }
  if (model.spec().embedding) model.embed_backward(slot);
}

inline double loss_of(const StageModel& model, int slot) {
  double sum = 0;
  for (const float x : model.head_output(slot).loss) sum += x;
  return sum;
}

inline StageSpec whole(const ModelConfig& config) {
  return {0, config.num_hidden_layers, true, true};
}

}  // namespace weft::trainer
