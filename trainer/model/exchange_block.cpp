// The expert exchanges of a layer. A dense layer has none; calling one there is a mistake of the
// caller.
#include <type_traits>

#include "base/check.h"
#include "trainer/kernels/convert.h"
#include "trainer/model/stage_impl.h"

namespace weft::trainer {

namespace {
// Which exchange of a slot and layer a tag belongs to.
enum Exchange { kDispatch, kCombine, kCombineBackward, kDispatchBackward, kDispatchAgain };

/// Rows travel as Real; the exchange's own payload formats may round them on the way.
template <class Act>
const Real* as_real(kernels::Context& context, const Buffer<Act>& rows, std::size_t n) {
  if constexpr (std::is_same_v<Act, Real>) {
    return rows.data();
  } else {
    Real* copy = context.scratch(kRows, n).data();
    kernels::convert(rows.data(), n, copy);
    return copy;
  }
}
}  // namespace

/// A layout with the rows in it goes from layer to layer as buffers do.
template <class Act>
comm::ExpertLayout& StageImpl<Act>::take_layout(LayerActivations<Act>& a) {
  if (a.layout != nullptr) return *a.layout;
  if (layouts.empty()) {
    layouts.push_back(std::make_unique<comm::ExpertLayout>());
    layouts.reserve(++num_layouts);
  }
  a.layout = std::move(layouts.back());
  layouts.pop_back();
  return *a.layout;
}

template <class Act>
void StageImpl<Act>::give_layout(LayerActivations<Act>& a) {
  if (a.layout == nullptr) return;
  arena.discharge(std::exchange(a.layout_bytes, 0));
  a.rows_in = a.d_rows_out = nullptr;
  layouts.push_back(std::move(a.layout));
}

/// The exchange keeps the rows that came in the layout.
template <class Act>
void StageImpl<Act>::charge_rows(LayerActivations<Act>& a) {
  const std::size_t bytes = static_cast<std::size_t>(a.layout->num_rows) *
                            static_cast<std::size_t>(config.hidden_size) * sizeof(Real);
  arena.charge(bytes);
  a.layout_bytes += bytes;
}

template <class Act>
Expected<void> StageImpl<Act>::begin_dispatch(int slot, int layer, bool again) {
  const auto [a, w] = at(slot, layer);
  if (again) WEFT_CHECK(a.norm2.held(), "attention comes first");
  comm::ExpertLayout& layout = take_layout(a);
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens();
  const Real* rows = as_real(context, a.norm2, elements(n, config.hidden_size));
  WEFT_TRY(exchange->begin_dispatch(layout, tag(slot, layer, again ? kDispatchAgain : kDispatch), n,
                                    rows, a.chosen.data(), a.gate_weight.data(),
                                    picker(slot, layer)));
  drop(a.gate_weight);
  return {};
}

template <class Act>
Expected<void> StageImpl<Act>::end_dispatch(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  WEFT_TRY_ASSIGN(a.rows_in, exchange->end_dispatch(*a.layout));
  charge_rows(a);
  if (batches[static_cast<std::size_t>(slot)].mode == Mode::Decode)
    decode_load[static_cast<std::size_t>(layer)].served += a.layout->num_slots;
  return {};
}

template <class Act>
Expected<void> StageImpl<Act>::begin_combine(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  WEFT_TRY(exchange->begin_combine(*a.layout, tag(slot, layer, kCombine), a.rows_out.data()));
  drop(a.rows_out);
  return {};
}

template <class Act>
Expected<void> StageImpl<Act>::end_combine(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  WEFT_TRY(exchange->end_combine(*a.layout, a.output.data()));
  if (!keeps_block(slot)) give_layout(a);
  return {};
}

template <class Act>
Expected<void> StageImpl<Act>::begin_combine_backward(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  WEFT_CHECK(a.layout != nullptr, "the dispatch must be made again first");
  return exchange->begin_combine_backward(*a.layout, tag(slot, layer, kCombineBackward),
                                          layer_output_gradient(slot, layer));
}

template <class Act>
Expected<void> StageImpl<Act>::end_combine_backward(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  WEFT_TRY_ASSIGN(a.d_rows_out, exchange->end_combine_backward(*a.layout));
  charge_rows(a);
  return {};
}

template <class Act>
Expected<void> StageImpl<Act>::begin_dispatch_backward(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  WEFT_TRY(exchange->begin_dispatch_backward(*a.layout, tag(slot, layer, kDispatchBackward),
                                             a.d_rows_in.data(), a.d_slot_weight.data()));
  drop(a.d_rows_in, a.d_slot_weight);
  return {};
}

template <class Act>
Expected<void> StageImpl<Act>::end_dispatch_backward(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  const std::size_t n =
      static_cast<std::size_t>(batches[static_cast<std::size_t>(slot)].num_tokens()) *
      static_cast<std::size_t>(config.num_experts_per_tok);
  return exchange->end_dispatch_backward(*a.layout, a.d_norm2.data(), take(a.d_gate_weight, n));
}

template <class Act>
std::size_t StageImpl<Act>::exchanged_bytes(int slot, int layer) {
  const LayerActivations<Act>& a = live(slot).layers[static_cast<std::size_t>(layer)];
  if (a.layout == nullptr) return 0;
  return elements(a.layout->num_rows, config.hidden_size) * sizeof(Real);
}

#define WEFT_INSTANTIATE(Act)                                                \
  template void StageImpl<Act>::give_layout(LayerActivations<Act>&);         \
  template std::size_t StageImpl<Act>::exchanged_bytes(int, int);            \
  template Expected<void> StageImpl<Act>::begin_dispatch(int, int, bool);    \
  template Expected<void> StageImpl<Act>::end_dispatch(int, int);            \
  template Expected<void> StageImpl<Act>::begin_combine(int, int);           \
  template Expected<void> StageImpl<Act>::end_combine(int, int);             \
  template Expected<void> StageImpl<Act>::begin_combine_backward(int, int);  \
  template Expected<void> StageImpl<Act>::end_combine_backward(int, int);    \
  template Expected<void> StageImpl<Act>::begin_dispatch_backward(int, int); \
  template Expected<void> StageImpl<Act>::end_dispatch_backward(int, int);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer
