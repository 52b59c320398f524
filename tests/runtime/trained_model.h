// A tiny model that has learned something, as a checkpoint on the disk, and its forward pass: what
// exported files are compared with.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "runtime/worker/engine.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/data/tokenizer.h"
#include "trainer/model/stage_model.h"

namespace weft::runtime {

/// Everything that a DeepSeek-V3-shaped file says differs from what a reader may assume: groups,
/// scaling, shared experts, a dense first layer, a padded vocabulary.
inline trainer::ModelConfig exported_model() {
  trainer::ModelConfig model;
  model.vocab_size = 384;
  model.hidden_size = 64;
  model.intermediate_size = 96;
  model.moe_intermediate_size = 32;
  model.num_hidden_layers = 3;
  model.first_k_dense_replace = 1;
  model.num_attention_heads = 4;
  model.n_shared_experts = 2;
  model.n_routed_experts = 16;
  model.num_experts_per_tok = 3;
  model.n_group = 4;
  model.topk_group = 2;
  model.routed_scaling_factor = 2.5;
  model.q_lora_rank = 32;
  model.kv_lora_rank = 32;
  model.qk_nope_head_dim = 32;
  model.qk_rope_head_dim = 16;
  model.v_head_dim = 32;
  model.max_position_embeddings = 256;
  model.initializer_range = 0.05;
  return model;
}

/// Sums, one behind the other: "17+5=22;".
inline std::string sums(std::uint64_t seed, int index, int count) {
  Rng rng(seed, "sums", static_cast<std::uint64_t>(index));
  std::string text;
  for (int i = 0; i < count; ++i) {
    const auto a = rng.below(50), b = rng.below(50);
    text += std::to_string(a) + "+" + std::to_string(b) + "=" + std::to_string(a + b) + ";";
  }
  return text;
}

/// Sequences of `length` tokens, each token predicting the next one.
inline trainer::MicroBatch text_batch(const trainer::data::Tokenizer& tokenizer, int step,
                                      int sequences, int length) {
  trainer::MicroBatch batch;
  batch.sequence_begin = {0};
  for (int s = 0; s < sequences; ++s) {
    const auto tokens = tokenizer.encode(sums(7, step * sequences + s, length));
    for (int t = 0; t < length; ++t) {
      batch.tokens.push_back(tokens[static_cast<std::size_t>(t)]);
      batch.positions.push_back(t);
      batch.targets.push_back(tokens[static_cast<std::size_t>(t) + 1]);
      batch.weight.push_back(1.0f / static_cast<float>(sequences * length));
    }
    batch.sequence_begin.push_back(batch.num_tokens());
    batch.sequence_id.push_back(s);
  }
  return batch;
}

/// Trains on sums for so many steps and commits one checkpoint into `ckpt`; its directory.
inline Expected<std::filesystem::path> train_and_save(const trainer::ModelConfig& model, int steps,
                                                      const std::filesystem::path& ckpt) {
  WEFT_TRY_ASSIGN(const auto tokenizer, trainer::data::Tokenizer::byte_level(99));
  constexpr int kSequences = 4, kLength = 48;
  EngineOptions options;
  options.model = model;
  options.max_tokens = kSequences * kLength;
  options.router_bias_update_rate = 2e-3;
  const auto transport = comm::make_self_transport();
  WEFT_TRY_ASSIGN(const auto engine, Engine::create(*transport, options));
  for (int step = 0; step < steps; ++step) {
    const trainer::MicroBatch batch = text_batch(tokenizer, step, kSequences, kLength);
    WEFT_TRY(engine->train(std::span(&batch, 1), 3e-3, step + 1, false));
  }
  Engine::SaveInfo info;
  info.directory = ckpt;
  info.run = "trained";
  info.step = steps;
  info.state = "{}";
  info.wall_time = "2026-01-31T12:00:00.123Z";
  WEFT_TRY_ASSIGN(const std::string name, engine->save(info));
  return ckpt / name;
}

/// The model alone in this process, with a checkpoint's weights.
class LoadedModel {
 public:
  static Expected<std::unique_ptr<LoadedModel>> open(const trainer::ModelConfig& config,
                                                     const std::filesystem::path& checkpoint) {
    WEFT_TRY_ASSIGN(auto reader, trainer::checkpoint::Reader::open(checkpoint));
    auto loaded = std::make_unique<LoadedModel>();
    const std::vector<comm::GroupSpec> specs = {{"experts", {0}}};
    WEFT_TRY_ASSIGN(auto groups, loaded->transport_->make_groups(specs));
    loaded->group_ = std::move(groups[0]);
    loaded->model_ = std::make_unique<trainer::StageModel>(
        config, trainer::StageSpec{0, config.num_hidden_layers, true, true}, *loaded->group_,
        loaded->context_, config.max_position_embeddings);
    trainer::ParameterSet& set = loaded->model_->parameters();
    for (int i = 0; i < static_cast<int>(set.items().size()); ++i)
      WEFT_TRY(reader.read("model", set.items()[static_cast<std::size_t>(i)].name, set.value(i)));
    set.touch();
    return loaded;
  }

  trainer::ParameterSet& parameters() { return model_->parameters(); }

  /// The logits after the last of these tokens.
  Expected<std::vector<float>> logits(const std::vector<std::int32_t>& tokens) {
    trainer::MicroBatch batch;
    batch.mode = trainer::Mode::Decode;
    batch.tokens = tokens;
    for (int p = 0; p < batch.num_tokens(); ++p) batch.positions.push_back(p);
    batch.sequence_begin = {0, batch.num_tokens()};
    batch.sequence_id = {0};
    batch.cache_row = {0};
    model_->set_micro_batches(std::span(&batch, 1));
    model_->open_cache(0, 1, batch.num_tokens());
    model_->embed(0);
    for (int l = 0; l < model_->spec().num_layers; ++l) WEFT_TRY(layer(l));
    model_->head(0);
    std::vector<float> out(model_->logits(0).begin(), model_->logits(0).end());
    model_->release(0);
    return out;
  }

 private:
  Expected<void> layer(int l) {
    const bool moe = model_->config().is_moe(l);
    model_->attention(0, l);
    if (moe) {
      WEFT_TRY(model_->begin_dispatch(0, l));
      WEFT_TRY(model_->end_dispatch(0, l));
    }
    model_->experts(0, l);
    if (moe) {
      WEFT_TRY(model_->begin_combine(0, l));
      WEFT_TRY(model_->end_combine(0, l));
    }
    return {};
  }

  std::unique_ptr<comm::Transport> transport_ = comm::make_self_transport();
  std::unique_ptr<comm::Communicator> group_;
  trainer::kernels::Context context_{1};
  std::unique_ptr<trainer::StageModel> model_;
};

}  // namespace weft::runtime
