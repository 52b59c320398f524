// The parameters that one rank holds of one stage: names as in Hugging Face checkpoints, values and
// gradients in two contiguous buffers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/real.h"

namespace weft::trainer {

struct Parameter {
  std::string name;  // "model.layers.3.mlp.experts.5.up_proj.weight"
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;  // into values and gradients, in elements
  std::int64_t size = 0;
  bool expert = false;    // lives on one expert shard only; else replicated over the stage
  bool trainable = true;  // false: the router's selection bias
  bool decay = true;      // weight decay applies (matrices yes, norms no)
  bool shared = false;    // the embedding: with multi-token prediction the last stage reads it too
  bool next_token = false;  // of a multi-token prediction module: learns only where that runs
};

class ParameterSet {
 public:
  /// Adds a parameter; all are added before `allocate`. Returns its index.
  int add(std::string name, std::vector<std::int64_t> shape, bool expert, bool trainable,
          bool decay);
  void share(int index) { items_[static_cast<std::size_t>(index)].shared = true; }
  void of_next_token(int index) { items_[static_cast<std::size_t>(index)].next_token = true; }
  enum class Buffers { ValuesAndGradients, Values };
  void allocate(Buffers buffers = Buffers::ValuesAndGradients);

  std::span<const Parameter> items() const { return items_; }
  const Parameter* find(std::string_view name) const;
  std::span<Real> value(int index);
  std::span<const Real> value(int index) const;
  std::span<Real> gradient(int index);
  std::span<Real> values() { return values_; }
  std::span<Real> gradients() { return gradients_; }
  const Real* values_data() const { return values_.data(); }
  void zero_gradients();

  /// Call after any value changed: packed copies are made anew on next use.
  void touch() { ++version_; }
  std::uint64_t version() const { return version_; }

  /// Exchanges all values with `other` (same length) and touches: how reference weights take the
  /// place of the trained ones for a forward pass.
  void swap_values(std::vector<Real>& other);

 private:
  std::vector<Parameter> items_;
  std::vector<Real> values_, gradients_;
  std::uint64_t version_ = 1;
};

}  // namespace weft::trainer
