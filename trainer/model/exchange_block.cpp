// The expert exchanges of a layer. A dense layer has none; calling one there is a mistake of the
// caller.
#include "base/check.h"
#include "trainer/model/stage_impl.h"

namespace weft::trainer {

namespace {
// Which exchange of a slot and layer a tag belongs to.
enum Exchange { kDispatch, kCombine, kCombineBackward, kDispatchBackward, kDispatchAgain };
}  // namespace

/// A layout with the rows in it goes from layer to layer as buffers do.
comm::ExpertLayout& StageModel::Impl::take_layout(LayerActivations& a) {
  if (a.layout != nullptr) return *a.layout;
  if (layouts.empty()) {
    layouts.push_back(std::make_unique<comm::ExpertLayout>());
    layouts.reserve(++num_layouts);
  }
  a.layout = std::move(layouts.back());
  layouts.pop_back();
  return *a.layout;
}

void StageModel::Impl::give_layout(LayerActivations& a) {
  if (a.layout == nullptr) return;
  arena.discharge(std::exchange(a.layout_bytes, 0));
  a.rows_in = a.d_rows_out = nullptr;
  layouts.push_back(std::move(a.layout));
}

/// The exchange keeps the rows that came in the layout.
void StageModel::Impl::charge_rows(LayerActivations& a) {
  const std::size_t bytes = static_cast<std::size_t>(a.layout->num_rows) *
                            static_cast<std::size_t>(config.hidden_size) * sizeof(Real);
  arena.charge(bytes);
  a.layout_bytes += bytes;
}

Expected<void> StageModel::Impl::begin_dispatch(int slot, int layer, bool again) {
  const auto [a, w] = at(slot, layer);
  if (again) WEFT_CHECK(a.norm2.held(), "attention comes first");
  comm::ExpertLayout& layout = take_layout(a);
  WEFT_TRY(exchange->begin_dispatch(layout, tag(slot, layer, again ? kDispatchAgain : kDispatch),
                                    batches[static_cast<std::size_t>(slot)].num_tokens(),
                                    a.norm2.data(), a.chosen.data(), a.gate_weight.data()));
  drop(a.gate_weight);
  return {};
}

Expected<void> StageModel::begin_dispatch(int slot, int layer) {
  return impl_->begin_dispatch(slot, layer, false);
}

Expected<void> StageModel::end_dispatch(int slot, int layer) {
  const auto [a, w] = impl_->at(slot, layer);
  WEFT_TRY_ASSIGN(a.rows_in, impl_->exchange->end_dispatch(*a.layout));
  impl_->charge_rows(a);
  return {};
}

Expected<void> StageModel::begin_combine(int slot, int layer) {
  const auto [a, w] = impl_->at(slot, layer);
  WEFT_TRY(impl_->exchange->begin_combine(*a.layout, impl_->tag(slot, layer, kCombine),
                                          a.rows_out.data()));
  impl_->drop(a.rows_out);
  return {};
}

Expected<void> StageModel::end_combine(int slot, int layer) {
  const auto [a, w] = impl_->at(slot, layer);
  WEFT_TRY(impl_->exchange->end_combine(*a.layout, a.output.data()));
  if (!impl_->keeps_block(slot)) impl_->give_layout(a);
  return {};
}

Expected<void> StageModel::begin_dispatch_again(int slot, int layer) {
  return impl_->begin_dispatch(slot, layer, true);
}

Expected<void> StageModel::end_dispatch_again(int slot, int layer) {
  return end_dispatch(slot, layer);
}

Expected<void> StageModel::begin_combine_backward(int slot, int layer) {
  const auto [a, w] = impl_->at(slot, layer);
  WEFT_CHECK(a.layout != nullptr, "the dispatch must be made again first");
  return impl_->exchange->begin_combine_backward(*a.layout,
                                                 impl_->tag(slot, layer, kCombineBackward),
                                                 impl_->layer_output_gradient(slot, layer));
}

Expected<void> StageModel::end_combine_backward(int slot, int layer) {
  const auto [a, w] = impl_->at(slot, layer);
  WEFT_TRY_ASSIGN(a.d_rows_out, impl_->exchange->end_combine_backward(*a.layout));
  impl_->charge_rows(a);
  return {};
}

Expected<void> StageModel::begin_dispatch_backward(int slot, int layer) {
  const auto [a, w] = impl_->at(slot, layer);
  WEFT_TRY(impl_->exchange->begin_dispatch_backward(*a.layout,
                                                    impl_->tag(slot, layer, kDispatchBackward),
                                                    a.d_rows_in.data(), a.d_slot_weight.data()));
  impl_->drop(a.d_rows_in, a.d_slot_weight);
  return {};
}

Expected<void> StageModel::end_dispatch_backward(int slot, int layer) {
  const auto [a, w] = impl_->at(slot, layer);
  const std::size_t n = static_cast<std::size_t>(micro_batch(slot).num_tokens()) *
                        static_cast<std::size_t>(config().num_experts_per_tok);
  return impl_->exchange->end_dispatch_backward(*a.layout, a.d_norm2.data(),
                                                impl_->take(a.d_gate_weight, n));
}

}  // namespace weft::trainer
