// A whole world of ranks as threads of the test, each with its own engine, over shared memory.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/rng.h"
#include "comm/local/local_transport.h"
#include "runtime/worker/engine.h"

namespace weft::runtime {

/// Runs `body` on every rank of a world, each a thread; how each ended. The first error ends the
/// waits of the others, unless they `go_on`.
inline std::vector<Expected<void>> in_world(
    int world_size, const std::function<Expected<void>(comm::Transport&, int rank)>& body,
    bool go_on = false) {
  auto world = comm::LocalWorld::create(world_size);
  if (!world)
    return std::vector<Expected<void>>(static_cast<std::size_t>(world_size),
                                       tl::unexpected(world.error()));
  std::vector<Expected<void>> ends(static_cast<std::size_t>(world_size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world_size; ++rank)
    threads.emplace_back([&, rank] {
      Expected<void>& end = ends[static_cast<std::size_t>(rank)];
      end = [&]() -> Expected<void> {
        WEFT_TRY_ASSIGN(const auto transport, world->join(rank));
        return body(*transport, rank);
      }();
      if (!end && !go_on) world->abort("rank " + std::to_string(rank) + ": " + end.error().message);
    });
  for (std::thread& thread : threads) thread.join();
  return ends;
}

/// Runs `body` on every rank of `layout`; fails the test with each error.
inline void on_every_rank(const EngineOptions& options,
                          const std::function<Expected<void>(Engine&)>& body) {
  const auto ends =
      in_world(options.layout.world(), [&](comm::Transport& transport, int) -> Expected<void> {
        WEFT_TRY_ASSIGN(const auto engine, Engine::create(transport, options));
        return body(*engine);
      });
  for (std::size_t rank = 0; rank < ends.size(); ++rank)
    EXPECT_TRUE(ends[rank]) << "rank " << rank << ": " << ends[rank].error().message;
}

inline trainer::ModelConfig tiny_model(int layers) {
  trainer::ModelConfig model;
  model.vocab_size = 64;
  model.hidden_size = 32;
  model.intermediate_size = 48;
  model.moe_intermediate_size = 16;
  model.num_hidden_layers = layers;
  model.first_k_dense_replace = 1;
  model.num_attention_heads = 4;
  model.n_routed_experts = 8;
  model.num_experts_per_tok = 2;
  model.n_group = 4;
  model.topk_group = 2;
  model.q_lora_rank = 16;
  model.kv_lora_rank = 16;
  model.qk_nope_head_dim = 8;
  model.qk_rope_head_dim = 4;
  model.v_head_dim = 8;
  model.max_position_embeddings = 64;
  model.initializer_range = 0.1;
  return model;
}

/// `count` sequences of uneven lengths, cut into `micro_batches` of equally many sequences each.
inline std::vector<trainer::MicroBatch> random_batch(std::uint64_t seed, int step, int count,
                                                     int micro_batches, int vocab) {
  std::vector<trainer::MicroBatch> batch(micro_batches);
  std::vector<std::vector<int>> sequences(count);
  int predicted = 0;
  for (int s = 0; s < count; ++s) {
    Rng rng(seed, "test sequence", step, s);
    sequences[s].resize(5 + rng.below(12));
    for (int& token : sequences[s]) token = static_cast<int>(rng.below(vocab));
    predicted += static_cast<int>(sequences[s].size()) - 1;
  }
  for (int s = 0; s < count; ++s) {
    trainer::MicroBatch& part = batch[s * micro_batches / count];
    if (part.sequence_begin.empty()) part.sequence_begin = {0};
    for (std::size_t t = 0; t + 1 < sequences[s].size(); ++t) {
      part.tokens.push_back(sequences[s][t]);
      part.positions.push_back(static_cast<int>(t));
      part.targets.push_back(sequences[s][t + 1]);
      part.weight.push_back(1.0f / static_cast<float>(predicted));
    }
    part.sequence_begin.push_back(part.num_tokens());
    part.sequence_id.push_back(s);
  }
  return batch;
}

/// A directory that lives as long as the test.
struct Scratch {
  std::filesystem::path path;
  explicit Scratch(const std::string& name)
      : path(std::filesystem::temp_directory_path() /
             ("weft-" + name + "-" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(path);
  }
  ~Scratch() { std::filesystem::remove_all(path); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

/// What a checkpoint of this step says of itself.
inline Engine::SaveInfo save_info(const std::filesystem::path& directory, long long step) {
  Engine::SaveInfo info;
  info.directory = directory;
  info.run = "test";
  info.step = step;
  info.state = "{}";
  info.wall_time = "2026-01-01T00:00:00Z";
  return info;
}

}  // namespace weft::runtime
