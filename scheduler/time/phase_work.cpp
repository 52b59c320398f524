#include "scheduler/time/phase_work.h"

#include <algorithm>

namespace weft::scheduler {

using dualpipe::Part;
using dualpipe::Pass;
using dualpipe::Phase;
using dualpipe::PhaseKind;
using dualpipe::PhaseStep;

namespace {

/// FlashAttention's backward: five products where the forward has two.
constexpr double kAttentionBackward = 2.5;

/// 0 forward (or once more), 1 backward for input, 2 weights.
int pass_index(const PhaseStep& step) {
  if (!step.backward || step.phase.part == Part::Again) return 0;
  return step.phase.part == Part::Weights ? 2 : 1;
}

/// How often a pass goes through its weights: gradients are read and written.
double goes(int pass) { return pass == 2 ? 2 : 1; }

double attention_width(const ModelShape& m) {
  const double latents = m.latent ? m.q_lora + m.kv_lora : 0;
  const double keys = m.latent ? m.heads : m.kv_heads;
  return m.hidden + latents + m.heads * (m.key_width() + m.value_width()) +
         keys * (m.key_width() + m.value_width());
}

PhaseWork attention(const Work& work, Block block, int pass, const RowWise& constants) {
  const ModelShape& m = work.model;
  const double tokens = work.micro_batch_tokens();
  PhaseWork out;
  out.gemm = 2 * tokens * m.attention_linear();
  out.weights = goes(pass) * m.attention_linear();
  const double core = tokens * work.sequence * m.heads * (m.key_width() + m.value_width());
  if (pass == 0) out.core_forward = core;  // causal: half of the keys, two products
  if (pass == 1) {
    out.core_backward = kAttentionBackward * core;
    if (work.recompute == Recompute::MlaUp) out.gemm += 2 * tokens * m.attention_up();
  }
  if (exchanges(work, block)) out.wide = 2 * tokens * m.gate();
  if (block == Block::NextToken) out.wide += 2 * tokens * m.next_token_join();
  out.bytes = tokens * attention_width(m) * constants.attention[pass];
  return out;
}

PhaseWork experts(const Work& work, Block block, int pass, double imbalance,
                  const RowWise& constants) {
  const ModelShape& m = work.model;
  const double tokens = work.micro_batch_tokens();
  PhaseWork out;
  if (!exchanges(work, block)) {
    out.gemm = 2 * tokens * m.dense_mlp();
    out.weights = goes(pass) * m.dense_mlp();
    out.bytes = tokens * (m.hidden + m.intermediate) * constants.experts[pass];
    return out;
  }
  // A rank gets as many rows as its own tokens send out: top_k each, on average.
  const double rows = tokens * m.top_k * imbalance;
  out.grouped = 2 * rows * m.expert();
  out.gemm = 2 * tokens * m.shared * m.expert();
  out.weights = goes(pass) * (1.0 * m.experts / work.layout.expert + m.shared) * m.expert();
  out.bytes =
      (rows + tokens * m.shared) * (m.hidden + m.moe_intermediate) * constants.experts[pass];
  return out;
}

PhaseWork head(const Work& work, const StageBlocks& stage, int pass, const RowWise& constants) {
  const ModelShape& m = work.model;
  const double heads = 1 + stage.next_token, tokens = work.micro_batch_tokens();
  PhaseWork out;
  out.wide = heads * 2 * tokens * m.embedding();
  out.weights = goes(pass) * heads * m.embedding();
  if (pass < 2)
    (pass == 0 ? out.softmax : out.bytes) = heads * tokens * m.vocab * constants.head / 2;
  return out;
}

/// What this job's kernels reach: FLOP/s, bytes/s, seconds.
struct Rates {
  double gemm = 0, grouped = 0, wide = 0;
  double core_forward = 0, core_backward = 0;
  double rows = 0, weights = 0, softmax = 0;
  double overhead = 0;
};

void set_products(Precision precision, const Cluster& c, Rates& rates) {
  const KernelRates& k = c.kernels;
  if (precision == Precision::F32) {
    rates.gemm = rates.wide = c.gpu.fp32 * k.gemm_fp32;
    rates.grouped = c.gpu.fp32 * k.grouped_gemm_fp32;
    return;
  }
  const bool fp8 = precision == Precision::FP8;
  rates.wide = c.gpu.bf16 * k.gemm_bf16;
  rates.gemm = fp8 ? c.gpu.fp8 * k.gemm_fp8 : rates.wide;
  rates.grouped = fp8 ? c.gpu.fp8 * k.grouped_gemm_fp8 : c.gpu.bf16 * k.grouped_gemm_bf16;
}

/// A rate that this GPU has: of the next wider precision where it lacks one.
Rates rates_of(Precision precision, const Cluster& c) {
  const KernelRates& k = c.kernels;
  if (precision == Precision::FP8 && !(c.gpu.fp8 > 0)) precision = Precision::BF16;
  Rates rates;
  set_products(precision, c, rates);
  const double core = precision == Precision::F32 ? c.gpu.fp32 : c.gpu.bf16;
  const NarrowRates* own = narrow_rates(precision, c);
  const auto either = [&](Figure NarrowRates::*narrow, double usual) {
    return own != nullptr && (own->*narrow).given() ? (own->*narrow).value : usual;
  };
  rates.core_forward = either(&NarrowRates::attention_forward, core * k.attention_forward);
  rates.core_backward = either(&NarrowRates::attention_backward, core * k.attention_backward);
  rates.rows = either(&NarrowRates::rows, c.gpu.memory_bandwidth * k.memory);
  rates.weights = either(&NarrowRates::weights, k.weights);
  rates.softmax = either(&NarrowRates::softmax, k.softmax > 0 ? k.softmax.value : rates.rows);
  rates.overhead = either(&NarrowRates::overhead, k.overhead);
  return rates;
}

}  // namespace

const NarrowRates* narrow_rates(Precision precision, const Cluster& cluster) {
  if (precision == Precision::F32) return nullptr;
  return precision == Precision::BF16 ? &cluster.bf16 : &cluster.fp8;
}

Block block_at(const StageBlocks& stage, int layer) {
  if (layer < stage.dense) return Block::Dense;
  return layer < stage.dense + stage.moe ? Block::Moe : Block::NextToken;
}

bool exchanges(const Work& work, Block block) {
  return work.model.experts > 0 && block != Block::Dense;
}

std::vector<Phase> stage_phases(const Work& work, const StageBlocks& stage, Pass pass) {
  std::vector<Phase> phases;
  const bool apart = work.layout.expert > 1;
  const auto exchange = [&](PhaseKind kind, int layer, Part part) {
    if (apart && exchanges(work, block_at(stage, layer))) phases.push_back({kind, layer, part});
  };
  const int layers = stage.layers();
  if (pass == Pass::Forward) {
    if (stage.first) phases.push_back({PhaseKind::Embed, 0, Part::Whole});
    for (int layer = 0; layer < layers; ++layer) {
      phases.push_back({PhaseKind::Attention, layer, Part::Whole});
      exchange(PhaseKind::Dispatch, layer, Part::Whole);
      phases.push_back({PhaseKind::Experts, layer, Part::Whole});
      exchange(PhaseKind::Combine, layer, Part::Whole);
    }
    if (stage.last) phases.push_back({PhaseKind::Head, layers - 1, Part::Whole});
    return phases;
  }
  if (stage.last)
    for (const Part part : {Part::Input, Part::Weights})
      phases.push_back({PhaseKind::Head, layers - 1, part});
  for (int layer = layers - 1; layer >= 0; --layer) {
    if (work.recompute == Recompute::Full) {
      phases.push_back({PhaseKind::Attention, layer, Part::Again});
      exchange(PhaseKind::Dispatch, layer, Part::Again);
    }
    exchange(PhaseKind::Combine, layer, Part::Input);
    if (work.recompute == Recompute::Full)
      phases.push_back({PhaseKind::Experts, layer, Part::Again});
    phases.push_back({PhaseKind::Experts, layer, Part::Input});
    phases.push_back({PhaseKind::Experts, layer, Part::Weights});
    exchange(PhaseKind::Dispatch, layer, Part::Input);
    phases.push_back({PhaseKind::Attention, layer, Part::Input});
    phases.push_back({PhaseKind::Attention, layer, Part::Weights});
  }
  if (stage.first) phases.push_back({PhaseKind::Embed, 0, Part::Weights});
  return phases;
}

PhaseWork work_of(const Work& work, const StageBlocks& stage, const PhaseStep& step,
                  double imbalance, const RowWise& constants) {
  const int pass = pass_index(step);
  const Block block = block_at(stage, step.phase.layer);
  switch (step.phase.kind) {
    case PhaseKind::Attention:
      return attention(work, block, pass, constants);
    case PhaseKind::Experts:
      return experts(work, block, pass, imbalance, constants);
    case PhaseKind::Head:
      return head(work, stage, pass, constants);
    case PhaseKind::Embed:
      return {.bytes = work.micro_batch_tokens() * work.model.hidden * 8};
    default:
      return {};
  }
}

double seconds_of(const PhaseWork& phase, const Work& work, const Cluster& cluster) {
  const Rates rates = rates_of(work.precision, cluster);
  const bool shares = work.layout.expert > 1 && work.model.experts > 0;
  const double left = shares && cluster.gpu.sms > 0
                          ? (cluster.gpu.sms - cluster.gpu.communication_sms) / cluster.gpu.sms
                          : 1.0;
  const double products = phase.gemm / rates.gemm + phase.grouped / rates.grouped +
                          phase.wide / rates.wide + phase.core_forward / rates.core_forward +
                          phase.core_backward / rates.core_backward;
  const double width = work.precision == Precision::F32 ? 2 : 1;  // the constants are of BF16 rows
  const double rows = (phase.bytes / rates.rows + phase.softmax / rates.softmax) * width;
  const double weights = rates.weights > 0 ? 4 * phase.weights / rates.weights : 0;
  return products / left + rows + weights + rates.overhead;
}

}  // namespace weft::scheduler
