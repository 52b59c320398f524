// Every tensor of a model by its Hugging Face name, and what follows from that list: parameters,
// those one token uses, FLOPs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/model/config.h"

namespace weft::trainer::hf {

enum class Part {
  Embedding,
  Attention,
  Norm,
  DenseMlp,
  Router,
  SharedExpert,
  RoutedExpert,
  Head,
  NextToken
};
std::string_view to_string(Part part);

struct Tensor {
  std::string name;
  std::vector<std::int64_t> shape;
  Part part = Part::Norm;
  int layer = -1;             // -1: before the first or after the last layer
  int expert = -1;            // of RoutedExpert
  bool stored_again = false;  // a copy of the embedding or the head inside a next-token module
  bool quantized = false;     // kept in FP8 with one scale a block where the checkpoint is FP8
  std::int64_t size() const;
};

/// In layer order, experts ascending. Next-token (MTP) modules follow as layers num_hidden_layers
/// and up.
/// The config must have no `problems`.
std::vector<Tensor> tensors_of(const ModelConfig& config);

struct Counts {
  std::int64_t total = 0;       // without next-token modules
  std::int64_t active = 0;      // that one token uses, embedding and head included
  std::int64_t embedding = 0;   // of these, embedding
  std::int64_t head = 0;        // and head (the embedding's matrix again when tied: then 0)
  std::int64_t next_token = 0;  // next-token modules, without what they share with the model
};
Counts count(const ModelConfig& config);

/// Per token, multiply and add counted as two. Training is three times the forward pass. Next-token
/// modules are left out, as in published figures.
struct Flops {
  double forward = 0;       // every token attends to half of the context on average
  double forward_full = 0;  // as if each attended to all of it (no causal discount)
  double training() const { return 3 * forward; }
  double training_full() const { return 3 * forward_full; }
};
Flops flops_per_token(const ModelConfig& config, int context);

}  // namespace weft::trainer::hf
