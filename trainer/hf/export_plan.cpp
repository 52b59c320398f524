#include "trainer/hf/export_plan.h"

#include <fmt/format.h>

#include "trainer/hf/number_formats.h"

namespace weft::trainer::hf {
namespace {

using checkpoint::Dtype;

constexpr int kBlock = 128;  // DeepSeek-V3's weight_block_size

/// Where a copy inside a next-token module comes from.
std::string source_of(const Tensor& tensor, const ModelConfig& config) {
  if (!tensor.stored_again) return tensor.name;
  const bool head = tensor.name.ends_with("shared_head.head.weight");
  return head && !config.tie_word_embeddings ? "lm_head.weight" : "model.embed_tokens.weight";
}

StoredTensor stored(const Tensor& tensor, const ModelConfig& config, Precision precision) {
  StoredTensor out{tensor.name, source_of(tensor, config), tensor.shape, Dtype::BF16, false, 0};
  const auto elements = static_cast<std::uint64_t>(tensor.size());
  if (precision == Precision::F32 || tensor.name.ends_with("e_score_correction_bias")) {
    out.dtype = Dtype::F32;
  } else if (precision == Precision::Fp8 && tensor.quantized) {
    out.dtype = Dtype::F8_E4M3;
    out.fp8 = true;
    const BlockedShape blocks{tensor.shape[0], tensor.shape[1], config.fp8_block_rows,
                              config.fp8_block_columns};
    out.bytes = static_cast<std::uint64_t>(blocks.scale_rows() * blocks.scale_columns()) * 4;
  }
  out.bytes += elements * checkpoint::bytes_of(out.dtype);
  return out;
}

}  // namespace

std::optional<Precision> parse_precision(std::string_view text) {
  if (text == "f32") return Precision::F32;
  if (text == "bf16") return Precision::Bf16;
  if (text == "fp8") return Precision::Fp8;
  return std::nullopt;
}

ModelConfig published(ModelConfig config, Precision precision, bool drop_next_token) {
  config.dtype = precision == Precision::F32 ? "float32" : "bfloat16";
  config.fp8_block_rows = config.fp8_block_columns = precision == Precision::Fp8 ? kBlock : 0;
  if (drop_next_token) config.num_nextn_predict_layers = 0;
  return config;
}

std::vector<ShardPlan> plan_shards(const ModelConfig& config, Precision precision,
                                   std::uint64_t shard_bytes) {
  std::vector<ShardPlan> shards(1);
  std::uint64_t used = 0;
  for (const Tensor& tensor : tensors_of(config)) {
    StoredTensor next = stored(tensor, config, precision);
    if (used > 0 && used + next.bytes > shard_bytes) {
      shards.emplace_back();
      used = 0;
    }
    used += next.bytes;
    shards.back().tensors.push_back(std::move(next));
  }
  for (std::size_t i = 0; i < shards.size(); ++i)
    shards[i].file = shards.size() == 1
                         ? "model.safetensors"
                         : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
  return shards;
}

}  // namespace weft::trainer::hf
