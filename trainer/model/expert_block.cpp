// Expert phase of a layer: shared expert or dense feed-forward, this rank's routed experts, and the
// exchanges around them.
//
// Order of the sums, the same for every layout: an expert's result is multiplied by its gate weight
// (one rounding), a row adds its experts in ascending order, a token adds ranks in ascending order
// on top of residual + shared expert.
#include <algorithm>

#include "base/check.h"
#include "trainer/kernels/parallel.h"
#include "trainer/kernels/swiglu.h"
#include "trainer/model/stage_impl.h"

namespace weft::trainer {

using namespace kernels;

namespace {

std::size_t elements(int rows, int columns) {
  return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
}

Real slot_weight(const comm::ExpertLayout& layout, std::size_t slot) {
  if constexpr (sizeof(Real) == sizeof(double)) {
    return static_cast<Real>(layout.slot_weight_double[slot]);
  } else {
    return layout.slot_weight[slot];
  }
}

/// Pointers of one feed-forward's rows, so that experts can share buffers.
struct MlpRows {
  const Real* x;
  Real* gate_up;
  Real* act;
  Real* y;
};

void mlp_forward(Context& context, const Weight& gate_up, const Weight& down, int rows,
                 const MlpRows& at, bool accumulate) {
  linear_forward(context, at.x, rows, gate_up, at.gate_up);
  swiglu_forward(context, at.gate_up, rows, down.in, at.act);
  linear_forward(context, at.act, rows, down, at.y, accumulate);
}

/// d_act is scratch [rows, width]; dx is overwritten.
void mlp_backward_input(Context& context, const Weight& gate_up, const Weight& down, int rows,
                        const Real* dy, const Real* gate_up_values, Real* d_act, Real* d_gate_up,
                        Real* dx) {
  linear_backward_input(context, dy, rows, down, d_act);
  swiglu_backward(context, d_act, gate_up_values, rows, down.in, d_gate_up);
  linear_backward_input(context, d_gate_up, rows, gate_up, dx);
}

/// Calls run(context, expert) for every local expert that has slots; in parallel where the context
/// has threads, each product on one thread then.
template <class Run>
void for_each_expert(Context& context, const comm::ExpertLayout& layout, int num_experts,
                     const Run& run) {
  const auto has_work = [&](int e) {
    return layout.expert_begin[static_cast<std::size_t>(e) + 1] >
           layout.expert_begin[static_cast<std::size_t>(e)];
  };
  parallel_for(context, num_experts, [&](Context& worker, int e) {
    if (has_work(e)) run(worker, e);
  });
}

}  // namespace

void StageModel::Impl::gather_slots(LayerActivations& a) {
  const int hidden = config.hidden_size;
  Real* slot_in = take(a.slot_in, elements(a.layout->num_slots, hidden));
  for (int s = 0; s < a.layout->num_slots; ++s) {
    const std::ptrdiff_t row = a.layout->slot_row[static_cast<std::size_t>(s)];
    std::copy_n(a.rows_in + row * hidden, hidden,
                slot_in + static_cast<std::ptrdiff_t>(s) * hidden);
  }
}

/// to[row of slot] += from[slot] * factor[slot], slots in ascending order: each row's experts
/// ascending. No factor: 1.
void StageModel::Impl::scatter_slots(const comm::ExpertLayout& layout, const Real* from,
                                     bool weighted, Real* to) const {
  const int hidden = config.hidden_size;
  std::fill_n(to, elements(layout.num_rows, hidden), Real(0));
  for (int s = 0; s < layout.num_slots; ++s, from += hidden) {
    const auto index = static_cast<std::size_t>(s);
    Real* row = to + static_cast<std::ptrdiff_t>(layout.slot_row[index]) * hidden;
    const Real factor = weighted ? slot_weight(layout, index) : Real(1);
#pragma omp simd
    for (int i = 0; i < hidden; ++i) row[i] += from[i] * factor;
  }
}

/// This rank's routed experts on the rows that dispatch brought: every slot's result.
void StageModel::Impl::run_routed(LayerActivations& a, LayerWeights& w) {
  const int hidden = config.hidden_size, width = config.moe_intermediate_size;
  gather_slots(a);
  const comm::ExpertLayout& layout = *a.layout;
  Real* gate_up = take(a.routed.gate_up, elements(layout.num_slots, 2 * width));
  Real* act = take(a.routed.act, elements(layout.num_slots, width));
  Real* out = take(a.slot_out, elements(layout.num_slots, hidden));
  for_each_expert(context, layout, static_cast<int>(w.experts.size()), [&](Context& worker, int e) {
    MlpWeights& expert = w.experts[static_cast<std::size_t>(e)];
    const std::ptrdiff_t begin = layout.expert_begin[static_cast<std::size_t>(e)];
    const int rows = layout.expert_begin[static_cast<std::size_t>(e) + 1] - static_cast<int>(begin);
    mlp_forward(worker, weight(expert.gate_up), weight(expert.down), rows,
                {a.slot_in.data() + begin * hidden, gate_up + begin * 2 * width,
                 act + begin * width, out + begin * hidden},
                false);
  });
}

void StageModel::Impl::run_experts(int slot, int layer) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens(), hidden = config.hidden_size;
  const auto [a, w] = at(slot, layer);
  Real* y = take(a.output, elements(n, hidden));
  std::copy_n(a.middle.data(), elements(n, hidden), y);
  if (w.mlp.width > 0) {
    mlp_forward(context, weight(w.mlp.gate_up), weight(w.mlp.down), n,
                {a.norm2.data(), take(a.mlp.gate_up, elements(n, 2 * w.mlp.width)),
                 take(a.mlp.act, elements(n, w.mlp.width)), y},
                true);
  }
  if (w.moe) {
    run_routed(a, w);
    scatter_slots(*a.layout, a.slot_out.data(), true,
                  take(a.rows_out, elements(a.layout->num_rows, hidden)));
  }
  after_experts(slot, layer);
}

/// What the backward of the experts reads, once more; the block's output is not needed.
void StageModel::Impl::run_experts_again(int slot, int layer) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens();
  const auto [a, w] = at(slot, layer);
  if (w.mlp.width > 0) {
    Real* gate_up = take(a.mlp.gate_up, elements(n, 2 * w.mlp.width));
    linear_forward(context, a.norm2.data(), n, weight(w.mlp.gate_up), gate_up);
    swiglu_forward(context, gate_up, n, w.mlp.width, take(a.mlp.act, elements(n, w.mlp.width)));
  }
  if (w.moe) run_routed(a, w);
}

/// From the gradients of rows: those of weighted results per slot, and of the gate weights.
void StageModel::Impl::slot_gradients(LayerActivations& a) {
  const int hidden = config.hidden_size, slots_here = a.layout->num_slots;
  Real* d_out = take(a.d_slot_out, elements(slots_here, hidden));
  Real* d_weight = take(a.d_slot_weight, elements(slots_here, 1));
  const Real* out = a.slot_out.data();
  for (int s = 0; s < slots_here; ++s, d_out += hidden, out += hidden) {
    const auto index = static_cast<std::size_t>(s);
    const Real* d_row =
        a.d_rows_out + static_cast<std::ptrdiff_t>(a.layout->slot_row[index]) * hidden;
    const Real factor = slot_weight(*a.layout, index);
    Real dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int i = 0; i < hidden; ++i) {
      dot += d_row[i] * out[i];
      d_out[i] = d_row[i] * factor;
    }
    d_weight[s] = dot;
  }
}

void StageModel::Impl::experts_backward_input(int slot, int layer) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens(), hidden = config.hidden_size;
  const auto [a, w] = at(slot, layer);
  WEFT_CHECK(a.middle.held(), "the block must be computed again first");
  Real* d_norm2 = take(a.d_norm2, elements(n, hidden));
  if (w.mlp.width > 0) {
    mlp_backward_input(context, weight(w.mlp.gate_up), weight(w.mlp.down), n,
                       layer_output_gradient(slot, layer), a.mlp.gate_up.data(),
                       context.scratch(kDAct, elements(n, w.mlp.width)).data(),
                       take(a.mlp.d_gate_up, elements(n, 2 * w.mlp.width)), d_norm2);
  } else {
    std::fill_n(d_norm2, elements(n, hidden), Real(0));
  }
  if (!w.moe) {
    drop(a.mlp.gate_up);
    return;
  }
  slot_gradients(a);
  const int slots_here = a.layout->num_slots, width = config.moe_intermediate_size;
  Real* d_act = context.scratch(kDAct, elements(slots_here, width)).data();
  Real* d_gate_up = take(a.routed.d_gate_up, elements(slots_here, 2 * width));
  Real* d_in = take(a.d_slot_in, elements(slots_here, hidden));
  for_each_expert(
      context, *a.layout, static_cast<int>(w.experts.size()), [&](Context& worker, int e) {
        MlpWeights& expert = w.experts[static_cast<std::size_t>(e)];
        const std::ptrdiff_t begin = a.layout->expert_begin[static_cast<std::size_t>(e)];
        const int rows =
            a.layout->expert_begin[static_cast<std::size_t>(e) + 1] - static_cast<int>(begin);
        mlp_backward_input(worker, weight(expert.gate_up), weight(expert.down), rows,
                           a.d_slot_out.data() + begin * hidden,
                           a.routed.gate_up.data() + begin * 2 * width, d_act + begin * width,
                           d_gate_up + begin * 2 * width, d_in + begin * hidden);
      });
  scatter_slots(*a.layout, d_in, false, take(a.d_rows_in, elements(a.layout->num_rows, hidden)));
  drop(a.mlp.gate_up, a.slot_out, a.routed.gate_up, a.d_slot_in);
}

void StageModel::Impl::experts_backward_weights(int slot, int layer) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens(), hidden = config.hidden_size;
  const auto [a, w] = at(slot, layer);
  if (w.mlp.width > 0) {
    add_weight_gradient(w.mlp.down, layer_output_gradient(slot, layer), a.mlp.act.data(), n);
    add_weight_gradient(w.mlp.gate_up, a.mlp.d_gate_up.data(), norm2(slot, layer), n);
    drop(a.mlp.act, a.mlp.d_gate_up);
  }
  if (!w.moe) return;
  const int width = config.moe_intermediate_size;
  for_each_expert(
      context, *a.layout, static_cast<int>(w.experts.size()), [&](Context& worker, int e) {
        MlpWeights& expert = w.experts[static_cast<std::size_t>(e)];
        const std::ptrdiff_t begin = a.layout->expert_begin[static_cast<std::size_t>(e)];
        const int rows =
            a.layout->expert_begin[static_cast<std::size_t>(e) + 1] - static_cast<int>(begin);
        linear_backward_weight(worker, a.d_slot_out.data() + begin * hidden,
                               a.routed.act.data() + begin * width, rows, hidden, width,
                               gradient(expert.down.offset));
        linear_backward_weight(worker, a.routed.d_gate_up.data() + begin * 2 * width,
                               a.slot_in.data() + begin * hidden, rows, 2 * width, hidden,
                               gradient(expert.gate_up.offset));
      });
  drop(a.slot_in, a.routed.act, a.routed.d_gate_up, a.d_slot_out);
}

std::size_t StageModel::exchanged_bytes(int slot, int layer) const {
  const LayerActivations& a = impl_->live(slot).layers[static_cast<std::size_t>(layer)];
  if (a.layout == nullptr) return 0;
  return elements(a.layout->num_rows, config().hidden_size) * sizeof(Real);
}

}  // namespace weft::trainer
