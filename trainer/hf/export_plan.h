// What an exported Hugging Face directory will hold: which tensor, in which number format, in which
// file. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/checkpoint/safetensors.h"
#include "trainer/hf/config.h"
#include "trainer/hf/inventory.h"

namespace weft::trainer::hf {

/// How weights are published.
enum class Precision { F32, Bf16, Fp8 };
/// "f32", "bf16", "fp8"
std::optional<Precision> parse_precision(std::string_view text);

/// A weight as it will be stored. `fp8`: as E4M3 codes, with a second tensor of scales.
struct StoredTensor {
  std::string name;    // in the export
  std::string source;  // in the model; another name for copies of embedding and head
  checkpoint::Shape shape;
  checkpoint::Dtype dtype = checkpoint::Dtype::BF16;
  bool fp8 = false;
  std::uint64_t bytes = 0;  // scales included
};

struct ShardPlan {
  std::string file;  // "model-00001-of-00002.safetensors", or "model.safetensors" for a lone one
  std::vector<StoredTensor> tensors;
};

/// The config that describes the export: number format, quantisation, next-token modules.
ModelConfig published(ModelConfig config, Precision precision, bool drop_next_token);

/// Tensors in the model's order, a new file where the next tensor would exceed `shard_bytes` (a
/// tensor is never cut). Norms, embeddings, router and output head are never FP8, the router's
/// selection bias is always F32, as in DeepSeek-V3's own files. `config`: from `published`.
std::vector<ShardPlan> plan_shards(const ModelConfig& config, Precision precision,
                                   std::uint64_t shard_bytes);

}  // namespace weft::trainer::hf
