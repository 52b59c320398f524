// The modules of the model that multiply with a weight.
#pragma once

#include <cstdint>

namespace weft::trainer {

/// Which module a matrix belongs to.
enum class LinearKind : std::uint8_t {
  QDown,
  QUp,  // also q_proj, where there is no low rank
  KvDown,
  KvUp,
  AttentionOut,
  MlpGateUp,  // of dense layers and of shared experts
  MlpDown,
  ExpertGateUp,
  ExpertDown,
  Gate,
  Embedding,
  Head,
  NextToken  // eh_proj of a multi-token prediction module
};

}  // namespace weft::trainer
