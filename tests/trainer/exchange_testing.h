// What the tests of import and export share: a model's weights that cost no memory, a small model
// with everything a DeepSeek-V3 file can have, and a plain second reader of safetensors files.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/rng.h"
#include "trainer/hf/inventory.h"
#include "trainer/hf/tensor_source.h"

namespace weft::trainer::hf::testing_ {

/// Odd sizes, blocks of 128 with ragged edges, groups, shared experts, a next-token module.
inline ModelConfig small_deepseek() {
  ModelConfig c;
  c.vocab_size = 270;
  c.hidden_size = 136;
  c.intermediate_size = 144;
  c.moe_intermediate_size = 24;
  c.num_hidden_layers = 2;
  c.first_k_dense_replace = 1;
  c.num_attention_heads = 3;
  c.n_routed_experts = 4;
  c.num_experts_per_tok = 2;
  c.n_group = 2;
  c.topk_group = 1;
  c.n_shared_experts = 2;
  c.routed_scaling_factor = 2.5;
  c.q_lora_rank = 20;
  c.kv_lora_rank = 130;
  c.qk_nope_head_dim = 10;
  c.qk_rope_head_dim = 6;
  c.v_head_dim = 8;
  c.max_position_embeddings = 64;
  c.num_nextn_predict_layers = 1;
  c.dtype = "float32";
  return c;
}

/// Weights made on demand from their names: element i of a tensor is always the same number.
class MadeUpWeights final : public TensorSource {
 public:
  explicit MadeUpWeights(const ModelConfig& config) {
    for (const Tensor& tensor : tensors_of(config))
      if (!tensor.stored_again) shapes_[tensor.name] = tensor.shape;
  }
  std::string name() const override { return "made up"; }
  bool has(std::string_view tensor) const override { return shapes_.contains(tensor); }
  Expected<checkpoint::Shape> shape(std::string_view tensor) override {
    const auto found = shapes_.find(tensor);
    if (found == shapes_.end()) return fail(Code::NotFound, std::string(tensor));
    return found->second;
  }
  Expected<void> read(std::string_view tensor, std::span<float> out) override {
    Rng rng(11, "made up weights", std::hash<std::string_view>{}(tensor));
    for (float& value : out) value = static_cast<float>(rng.normal());
    if (on_read) on_read(tensor, out);
    return {};
  }
  std::vector<float> whole(const std::string& tensor) {
    std::vector<float> out(*checkpoint::num_elements(shapes_.at(tensor)));
    EXPECT_TRUE(read(tensor, out));
    return out;
  }

  std::function<void(std::string_view, std::span<float>)> on_read;
  std::map<std::string, checkpoint::Shape, std::less<>> shapes_;
};

/// A safetensors file taken apart with nothing of ours: string search instead of a JSON parser,
/// which does for the files that we write. Tensor name -> dtype and bytes.
struct PlainTensor {
  std::string dtype;
  std::vector<long long> shape;
  std::string bytes;
};
inline std::map<std::string, PlainTensor> read_plainly(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string file((std::istreambuf_iterator<char>(in)), {});
  std::uint64_t length = 0;
  EXPECT_GE(file.size(), 8u) << path;
  if (file.size() < 8) return {};
  std::memcpy(&length, file.data(), 8);
  const std::string header = file.substr(8, length), data = file.substr(8 + length);
  const auto numbers = [&](std::size_t at) {
    std::vector<long long> out;
    for (std::size_t i = header.find('[', at) + 1; header[i] != ']';) {
      std::size_t used = 0;
      out.push_back(std::stoll(header.substr(i, 24), &used));
      i += used + (header[i + used] == ',' ? 1 : 0);
    }
    return out;
  };
  std::map<std::string, PlainTensor> tensors;
  std::size_t covered = 0;
  const std::string key = "{\"dtype\":\"";
  for (std::size_t at = header.find(key); at != std::string::npos; at = header.find(key, at + 1)) {
    const std::size_t name_end = at - 2, name_begin = header.rfind('"', name_end - 1) + 1;
    PlainTensor tensor;
    const std::size_t dtype = at + key.size();
    tensor.dtype = header.substr(dtype, header.find('"', dtype) - dtype);
    tensor.shape = numbers(header.find("\"shape\":", at));
    const auto offsets = numbers(header.find("\"data_offsets\":", at));
    tensor.bytes = data.substr(static_cast<std::size_t>(offsets[0]),
                               static_cast<std::size_t>(offsets[1] - offsets[0]));
    covered += tensor.bytes.size();
    tensors[header.substr(name_begin, name_end - name_begin)] = std::move(tensor);
  }
  EXPECT_EQ(covered, data.size()) << path << ": holes or overlaps";
  return tensors;
}

}  // namespace weft::trainer::hf::testing_
