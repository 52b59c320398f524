#include "trainer/model/parameters.h"

#include <algorithm>

#include "base/check.h"

namespace weft::trainer {

int ParameterSet::add(std::string name, std::vector<std::int64_t> shape, bool expert,
                      bool trainable, bool decay) {
  WEFT_CHECK(values_.empty(), "parameters are added before allocate: " + name);
  std::int64_t size = 1;
  for (const auto extent : shape) size *= extent;
  const std::int64_t offset = items_.empty() ? 0 : items_.back().offset + items_.back().size;
  items_.push_back({std::move(name), std::move(shape), offset, size, expert, trainable, decay});
  return static_cast<int>(items_.size()) - 1;
}

void ParameterSet::allocate(Buffers buffers) {
  const auto total =
      items_.empty() ? 0 : static_cast<std::size_t>(items_.back().offset + items_.back().size);
  values_.assign(total, Real(0));
  if (buffers == Buffers::ValuesAndGradients) gradients_.assign(total, Real(0));
  touch();
}

const Parameter* ParameterSet::find(std::string_view name) const {
  const auto it = std::find_if(items_.begin(), items_.end(),
                               [&](const Parameter& item) { return item.name == name; });
  return it == items_.end() ? nullptr : &*it;
}

namespace {
template <class T>
std::span<T> part(std::span<T> all, const Parameter& item) {
  return all.subspan(static_cast<std::size_t>(item.offset), static_cast<std::size_t>(item.size));
}
}  // namespace

std::span<Real> ParameterSet::value(int index) {
  return part(std::span<Real>(values_), items_[static_cast<std::size_t>(index)]);
}
std::span<const Real> ParameterSet::value(int index) const {
  return part(std::span<const Real>(values_), items_[static_cast<std::size_t>(index)]);
}
std::span<Real> ParameterSet::gradient(int index) {
  return part(std::span<Real>(gradients_), items_[static_cast<std::size_t>(index)]);
}

void ParameterSet::zero_gradients() { std::fill(gradients_.begin(), gradients_.end(), Real(0)); }

void ParameterSet::swap_values(std::vector<Real>& other) {
  WEFT_CHECK(other.size() == values_.size(), "values of another model");
  values_.swap(other);
  touch();
}

}  // namespace weft::trainer
