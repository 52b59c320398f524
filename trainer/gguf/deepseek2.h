// A DeepSeek-V3-shaped model as llama.cpp's architecture "deepseek2": its keys, and which of our
// tensors becomes which of its. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/gguf/header.h"
#include "trainer/gguf/vocabulary.h"
#include "trainer/hf/config.h"

namespace weft::trainer::gguf {

/// What happens to a tensor of ours on its way.
enum class Transform {
  Whole,      // rows as they are
  KeyPart,    // of kv_b_proj: each head's rows for keys, transposed: [heads, kv_lora, nope]
  ValuePart,  // of kv_b_proj: each head's rows for values: [heads, v, kv_lora]
};

struct Source {
  std::string tensor;
  std::vector<std::int64_t> shape;
};

/// A tensor of the file: its sources one behind the other (one, or an expert each).
struct OutTensor {
  std::string name;
  std::vector<std::uint64_t> dims;  // the first one varies fastest
  Type type = Type::F32;
  Transform transform = Transform::Whole;
  std::vector<Source> sources;
};

/// "f32", "f16", "bf16", "q8_0"
std::optional<Type> parse_type(std::string_view text);

/// Errors: Unsupported, naming the field, for a model that llama.cpp would load and compute
/// differently, or not at all.
Expected<void> check_expressible(const ModelConfig& config);

/// Vectors, the router and its bias are F32 whatever `type`; rows that are no whole blocks of Q8_0
/// become F16. Next-token modules are left out.
std::vector<OutTensor> tensors(const ModelConfig& config, Type type);

/// All keys but those of splitting. `name`: of the model, for people.
std::vector<std::pair<std::string, Value>> keys(const ModelConfig& config, Type type,
                                                const Vocabulary& vocabulary,
                                                const std::string& name);

/// What a source becomes, in the order of the file; `in` has its shape, `out` as many elements as
/// the transform leaves. For a source of OutTensor::transform.
void transform(const ModelConfig& config, Transform how, std::span<const float> in,
               std::vector<float>& out);

}  // namespace weft::trainer::gguf
