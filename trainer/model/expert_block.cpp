// Expert phase of a layer: shared expert or dense feed-forward, this rank's routed experts, and the
// exchanges around them.
//
// Order of the sums, the same for every layout: an expert's result is multiplied by its gate weight
// (one rounding), a row adds its experts in ascending order, a token adds ranks in ascending order
// on top of residual + shared expert.
#include <algorithm>

#include "base/check.h"
#include "trainer/kernels/convert.h"
#include "trainer/kernels/lanes.h"
#include "trainer/kernels/parallel.h"
#include "trainer/kernels/swiglu.h"
#include "trainer/model/stage_impl.h"

namespace weft::trainer {

using namespace kernels;

namespace {

Real slot_weight(const comm::ExpertLayout& layout, std::size_t slot) {
  if constexpr (sizeof(Real) == sizeof(double)) {
    return static_cast<Real>(layout.slot_weight_double[slot]);
  } else {
    return layout.slot_weight[slot];
  }
}

/// The products of one feed-forward on rows that may be an expert's part of shared buffers. Act: as
/// its intermediate values are kept.
template <class Act>
struct Mlp {
  const Linear& linear;
  Context& context;
  MlpWeights& weights;
  int rows;

  template <class Y>
  void forward(const Act* x, Act* gate_up, Act* act, Y* y, bool accumulate) const {
    up(x, gate_up, act);
    linear.forward(context, weights.down, act, rows, y, accumulate);
  }
  void up(const Act* x, Act* gate_up, Act* act) const {
    linear.forward(context, weights.gate_up, x, rows, gate_up);
    swiglu_forward(context, gate_up, rows, weights.width, act);
  }
  /// d_act is scratch [rows, width]; dx is overwritten.
  template <class D, class Y>
  void backward_input(const D* dy, const Act* gate_up, Act* d_act, Act* d_gate_up, Y* dx) const {
    linear.backward_input(context, weights.down, dy, rows, d_act);
    swiglu_backward(context, d_act, gate_up, rows, weights.width, d_gate_up);
    linear.backward_input(context, weights.gate_up, d_gate_up, rows, dx);
  }
};

/// Calls run(mlp, first slot) for every expert that has slots; in parallel where the context has
/// threads, each product on one thread then. `seat`: of the first of them on this rank.
template <class Act, class Run>
void for_each_expert(Context& context, const Linear& linear, const comm::ExpertLayout& layout,
                     std::vector<MlpWeights>& experts, const Run& run, std::size_t seat = 0) {
  parallel_for(context, static_cast<int>(experts.size()), [&](Context& worker, int index) {
    const auto e = static_cast<std::size_t>(index);
    const int begin = layout.expert_begin[seat + e];
    const int rows = layout.expert_begin[seat + e + 1] - begin;
    if (rows > 0) run(Mlp<Act>{linear, worker, experts[e], rows}, std::ptrdiff_t{begin});
  });
}

}  // namespace

template <class Act>
void StageImpl<Act>::gather_slots(LayerActivations<Act>& a) {
  const int hidden = config.hidden_size;
  Act* slot_in = take(a.slot_in, elements(a.layout->num_slots, hidden));
  for (int s = 0; s < a.layout->num_slots; ++s) {
    const std::ptrdiff_t row = a.layout->slot_row[static_cast<std::size_t>(s)];
    convert(a.rows_in + row * hidden, static_cast<std::size_t>(hidden),
            slot_in + static_cast<std::ptrdiff_t>(s) * hidden);
  }
}

/// to[row of slot] += from[slot] * factor[slot], slots in ascending order: each row's experts
/// ascending. No factor: 1.
template <class Act>
template <class T>
void StageImpl<Act>::scatter_slots(const comm::ExpertLayout& layout, const T* from, bool weighted,
                                   Real* to) const {
  const int hidden = config.hidden_size;
  std::fill_n(to, elements(layout.num_rows, hidden), Real(0));
  for (int s = 0; s < layout.num_slots; ++s, from += hidden) {
    const auto index = static_cast<std::size_t>(s);
    Real* row = to + static_cast<std::ptrdiff_t>(layout.slot_row[index]) * hidden;
    const Real factor = weighted ? slot_weight(layout, index) : Real(1);
    over_lanes(hidden, [&](int i, auto n) {
      store(load(row + i, n) + load(from + i, n) * factor, row + i, n);
    });
  }
}

/// This rank's routed experts, and its replicas where the dispatch went to them, on the rows that
/// it brought: every slot's result.
template <class Act>
void StageImpl<Act>::run_routed(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  const int hidden = config.hidden_size, width = config.moe_intermediate_size;
  gather_slots(a);
  const comm::ExpertLayout& layout = *a.layout;
  Act* gate_up = take(a.routed.gate_up, elements(layout.num_slots, 2 * width));
  Act* act = take(a.routed.act, elements(layout.num_slots, width));
  Act* out = take(a.slot_out, elements(layout.num_slots, hidden));
  const Act* in = a.slot_in.data();
  const auto run = [&](const Mlp<Act>& expert, std::ptrdiff_t at_slot) {
    expert.forward(in + at_slot * hidden, gate_up + at_slot * 2 * width, act + at_slot * width,
                   out + at_slot * hidden, false);
  };
  for_each_expert<Act>(context, linear, layout, w.experts, run);
  if (comm::ExpertExchange<Real>::replicas(layout))
    for_each_expert<Act>(context, replicas->linear, layout,
                         replicas->layers[static_cast<std::size_t>(layer)].seats, run,
                         w.experts.size());
}

/// Every slot's result times its gate weight, each for itself: home adds them.
template <class Act>
void StageImpl<Act>::weigh_slots(LayerActivations<Act>& a) {
  const int hidden = config.hidden_size;
  const comm::ExpertLayout& layout = *a.layout;
  const Act* from = a.slot_out.data();
  Real* to = take(a.rows_out, elements(layout.num_slots, hidden));
  for (int s = 0; s < layout.num_slots; ++s, from += hidden, to += hidden) {
    const Real factor = slot_weight(layout, static_cast<std::size_t>(s));
    over_lanes(hidden, [&](int i, auto n) { store(load(from + i, n) * factor, to + i, n); });
  }
}

template <class Act>
void StageImpl<Act>::run_experts(int slot, int layer) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens(), hidden = config.hidden_size;
  const auto [a, w] = at(slot, layer);
  Real* y = take(a.output, elements(n, hidden));
  std::copy_n(a.middle.data(), elements(n, hidden), y);
  if (w.mlp.width > 0) {
    Mlp<Act>{linear, context, w.mlp, n}.forward(a.norm2.data(),
                                                take(a.mlp.gate_up, elements(n, 2 * w.mlp.width)),
                                                take(a.mlp.act, elements(n, w.mlp.width)), y, true);
  }
  if (w.moe) {
    run_routed(slot, layer);
    if (comm::ExpertExchange<Real>::replicas(*a.layout))
      weigh_slots(a);
    else
      scatter_slots(*a.layout, a.slot_out.data(), true,
                    take(a.rows_out, elements(a.layout->num_rows, hidden)));
  }
  after_experts(slot, layer);
}

/// What the backward of the experts reads, once more; the block's output is not needed.
template <class Act>
void StageImpl<Act>::run_experts_again(int slot, int layer) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens();
  const auto [a, w] = at(slot, layer);
  if (w.mlp.width > 0) {
    Mlp<Act>{linear, context, w.mlp, n}.up(a.norm2.data(),
                                           take(a.mlp.gate_up, elements(n, 2 * w.mlp.width)),
                                           take(a.mlp.act, elements(n, w.mlp.width)));
  }
  if (w.moe) run_routed(slot, layer);
  if (is_fp8()) pack_experts(slot, layer);
}

/// From the gradients of rows: those of weighted results per slot, and of the gate weights.
template <class Act>
void StageImpl<Act>::slot_gradients(LayerActivations<Act>& a) {
  const int hidden = config.hidden_size, slots_here = a.layout->num_slots;
  Act* d_out = take(a.d_slot_out, elements(slots_here, hidden));
  Real* d_weight = take(a.d_slot_weight, elements(slots_here, 1));
  const Act* out = a.slot_out.data();
  for (int s = 0; s < slots_here; ++s, d_out += hidden, out += hidden) {
    const auto index = static_cast<std::size_t>(s);
    const Real* d_row =
        a.d_rows_out + static_cast<std::ptrdiff_t>(a.layout->slot_row[index]) * hidden;
    const Real factor = slot_weight(*a.layout, index);
    Vector dot = {};
    over_lanes(hidden, [&](int i, auto n) {
      const Vector d = load(d_row + i, n);
      dot += d * load(out + i, n);
      store(d * factor, d_out + i, n);
    });
    d_weight[s] = sum_of_lanes(dot);
  }
}

template <class Act>
void StageImpl<Act>::experts_backward_input(int slot, int layer) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens(), hidden = config.hidden_size;
  const auto [a, w] = at(slot, layer);
  WEFT_CHECK(a.middle.held(), "the block must be computed again first");
  Real* d_norm2 = take(a.d_norm2, elements(n, hidden));
  if (w.mlp.width > 0) {
    Mlp<Act>{linear, context, w.mlp, n}.backward_input(
        layer_output_gradient(slot, layer), gate_up_for_backward(a.mlp, n, w.mlp.width),
        context.scratch<Act>(kDAct, elements(n, w.mlp.width)).data(),
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
  Act* d_act = context.scratch<Act>(kDAct, elements(slots_here, width)).data();
  Act* d_gate_up = take(a.routed.d_gate_up, elements(slots_here, 2 * width));
  Act* d_in = take(a.d_slot_in, elements(slots_here, hidden));
  const Act* gate_up = gate_up_for_backward(a.routed, slots_here, width);
  for_each_expert<Act>(context, linear, *a.layout, w.experts,
                       [&, &a = a](const Mlp<Act>& expert, std::ptrdiff_t at) {
                         expert.backward_input(a.d_slot_out.data() + at * hidden,
                                               gate_up + at * 2 * width, d_act + at * width,
                                               d_gate_up + at * 2 * width, d_in + at * hidden);
                       });
  scatter_slots(*a.layout, d_in, false, take(a.d_rows_in, elements(a.layout->num_rows, hidden)));
  drop(a.mlp.gate_up, a.slot_out, a.routed.gate_up, a.d_slot_in);
}

template <class Act>
void StageImpl<Act>::experts_backward_weights(int slot, int layer) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens(), hidden = config.hidden_size;
  const auto [a, w] = at(slot, layer);
  if (w.mlp.width > 0) {
    linear.backward_weight(context, w.mlp.down, layer_output_gradient(slot, layer),
                           act_for_weights(a.mlp, n, w.mlp.width), n);
    add_gradient(w.mlp.gate_up, a.mlp.d_gate_up.data(), n, a.norm2_fp8,
                 [&] { return norm2(slot, layer); });
    drop(a.mlp.act, a.mlp.d_gate_up, a.mlp.gate_up_fp8, a.norm2_fp8);
  }
  if (!w.moe) return;
  const int width = config.moe_intermediate_size, slots_here = a.layout->num_slots;
  const Act* act = act_for_weights(a.routed, slots_here, width);
  for_each_expert<Act>(
      context, linear, *a.layout, w.experts,
      [&, &a = a](const Mlp<Act>& expert, std::ptrdiff_t at) {
        const Act* d_gate_up = a.routed.d_gate_up.data() + at * 2 * width;
        linear.backward_weight(expert.context, expert.weights.down,
                               a.d_slot_out.data() + at * hidden, act + at * width, expert.rows);
        if (a.slot_in_fp8.held()) {
          kernels::Fp8Rows x = packed_rows(a.slot_in_fp8, slots_here, hidden);
          x.codes += at * hidden;
          x.scales += at * kernels::fp8_tiles(hidden);
          x.rows = expert.rows;
          linear.backward_weight(expert.context, expert.weights.gate_up, d_gate_up, x);
        } else {
          linear.backward_weight(expert.context, expert.weights.gate_up, d_gate_up,
                                 a.slot_in.data() + at * hidden, expert.rows);
        }
      });
  drop(a.slot_in, a.routed.act, a.routed.d_gate_up, a.d_slot_out, a.slot_in_fp8,
       a.routed.gate_up_fp8);
}

#define WEFT_INSTANTIATE(Act)                                     \
  template void StageImpl<Act>::run_experts(int, int);            \
  template void StageImpl<Act>::run_experts_again(int, int);      \
  template void StageImpl<Act>::experts_backward_input(int, int); \
  template void StageImpl<Act>::experts_backward_weights(int, int);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer
