#include "scheduler/memory/block_bytes.h"

#include <cmath>

#include "scheduler/memory/exchange_bytes.h"

namespace weft::scheduler {
namespace {

double tiles(double columns) { return std::ceil(columns / 128); }
/// FP8 numbers with an FP32 scale for 128.
double fp8_bytes(double columns) { return columns + 4 * tiles(columns); }
double e5m6_bytes(double columns) { return 1.5 * columns + 4 * tiles(columns); }

/// Bytes of one token (or row), by what they are for.
struct Parts {
  double stream;   // a residual row
  double norms;    // results of the norms that feed projections
  double latents;  // of queries and keys, before their norms
  double up;       // queries, keys, values
  double attended;
  double norm2, scores, statistics;
  double shared_in, shared_act;             // gate_up and act of a dense or shared feed-forward
  double row_in, row_up, row_act, row_out;  // of routed rows
};

Parts parts_of(const Work& work, Block block, const StorageRules& rules) {
  const ModelShape& m = work.model;
  const double act = work.precision == Precision::F32 ? 4 : 2;
  const bool fp8 = work.precision == Precision::FP8, moe = exchanges(work, block);
  const double d = m.hidden;
  const auto kept = [&](double columns) { return fp8 ? fp8_bytes(columns) : act * columns; };
  Parts p{};
  p.stream = rules.residual * d;
  const double attended = 1.0 * m.heads * m.value_width();
  if (m.latent) {
    p.norms = kept(d) + (m.q_lora > 0 ? kept(m.q_lora) : 0) + kept(m.kv_lora);
    p.latents = act * ((m.q_lora > 0 ? m.q_lora : 0) + m.kv_lora + m.rope);
    p.up = act * (m.rope + 1.0 * m.heads * (m.nope + m.rope) + 1.0 * m.heads * (m.nope + m.value));
  } else {
    p.norms = kept(d);
    p.latents = 0;
    p.up = act * m.head_dim * (m.heads + 2.0 * m.kv_heads);
  }
  p.attended = fp8 ? e5m6_bytes(attended) : act * attended;
  p.norm2 = moe && fp8 ? act * d : kept(d);
  p.scores = moe ? rules.residual * m.experts : 0;
  p.statistics = 16;
  const double width = moe ? 1.0 * m.shared * m.moe_intermediate : m.intermediate;
  p.shared_in = width > 0 ? kept(2 * width) : 0;
  p.shared_act = fp8 ? 0 : act * width;
  p.row_in = kept(d);
  p.row_up = kept(2.0 * m.moe_intermediate);
  p.row_act = fp8 ? 0 : act * m.moe_intermediate;
  p.row_out = rules.keeps_expert_results ? act * d : 0;
  return p;
}

}  // namespace

StorageRules storage_rules(bool gpu) { return gpu ? StorageRules{2, false, true} : StorageRules{}; }

BlockBytes block_bytes(const Work& work, Block block, const StorageRules& rules, double imbalance) {
  const ModelShape& m = work.model;
  const Parts p = parts_of(work, block, rules);
  const bool moe = exchanges(work, block);
  const bool up = work.recompute == Recompute::MlaUp, full = work.recompute == Recompute::Full;
  const double act = work.precision == Precision::F32 ? 4 : 2;
  const double T = work.micro_batch_tokens(), rows = moe ? T * m.top_k * imbalance : 0;
  // Sums of a rank's experts, on their way home; on a CPU what came lies with the exchange.
  const double received = moe ? imbalance * received_rows(work) * rules.residual * m.hidden : 0;

  const double attention =
      T * (p.norms + p.latents + p.up + p.attended + p.stream + p.norm2 + p.scores + p.statistics);
  const double routed = rows * (p.row_in + p.row_up + p.row_act + p.row_out);
  const double mlp = T * (p.shared_in + p.shared_act);
  const double output = T * p.stream;
  const double dropped_up = up ? T * (p.norms + p.up) : 0;
  const double dropped_norm2 = up ? T * p.norm2 : 0;

  BlockBytes b;
  const double experts_kept = mlp + routed;
  b.attention = {attention, attention - dropped_up};
  b.experts = {experts_kept + output + received, experts_kept + output - dropped_norm2};
  if (full) {
    // Only the output (the next block's input) and what routing decided stay.
    b.experts.after = output - attention;
    b.attention_again = {attention, attention};
    b.experts_again = {experts_kept, experts_kept};
  }
  b.kept = b.attention.after + b.experts.after;

  const double d_act =
      rules.fp8_gradients && work.precision == Precision::FP8 ? fp8_bytes(128) / 128 : act;
  const double d_up = d_act * rows * 2 * m.moe_intermediate;
  const double d_mlp = d_act * T * 2 * (moe ? 1.0 * m.shared * m.moe_intermediate : m.intermediate);
  const double d_rows = d_act * rows * m.hidden, d_norm2 = T * p.stream;
  b.experts_input.most = d_norm2 + d_mlp + d_up + 2 * d_rows + received;
  const double gone = T * p.shared_in + rows * (p.row_up + p.row_out);
  const bool packed = work.precision == Precision::FP8;  // the packed gate_up stays for the weights
  const double freed = packed ? rows * p.row_out : gone;
  b.experts_input.after = d_norm2 + d_mlp + d_up + d_rows - freed;
  b.experts_weights.after =
      -(d_mlp + d_up + d_rows + T * p.shared_act + rows * (p.row_in + p.row_act) + (gone - freed));

  const double projections = act * T *
                             (m.latent ? m.heads * (2.0 * m.nope + m.rope + m.value) +
                                             (m.q_lora > 0 ? m.q_lora : 0) + m.kv_lora + m.rope
                                       : m.head_dim * (m.heads + 2.0 * m.kv_heads));
  const double d_router = moe ? rules.residual * T * m.experts : 0;
  const double gradients = T * p.stream + d_act * T * m.hidden + projections + d_router;
  const double remade = up ? T * (p.norms + p.up) : 0;
  b.attention_input.most = gradients + remade;
  // Queries, keys, values, scores and d_norm2 go; without recomputation the latents and the
  // residual too, as nobody makes the norms again.
  b.attention_input.after = gradients - d_norm2 - T * p.scores - (up ? 0 : T * p.up) -
                            (up ? 0 : T * (p.latents + p.stream + p.statistics));
  const double before = b.kept + (full ? attention + experts_kept : 0);
  // Everything of the block ends with its last weight gradient; its d_input is the block below's.
  b.attention_weights.after =
      -(before + b.experts_input.after + b.experts_weights.after + b.attention_input.after);
  return b;
}

Change head_bytes(const Work& work, const StorageRules& rules) {
  const double act = work.precision == Precision::F32 ? 4 : 2;
  const ModelShape& m = work.model;
  const double tokens = work.micro_batch_tokens();
  const double rows = tokens * (rules.residual * m.hidden + act * m.hidden + 4);
  const double d_logits = tokens * act * m.vocab;
  const double logits = tokens * 4.0 * m.vocab;
  const bool in_place = work.precision == Precision::F32;
  return {rows + logits + (in_place ? 0 : d_logits), rows + d_logits};
}

}  // namespace weft::scheduler
