#include "scheduler/memory/packed_bytes.h"

#include <cmath>

#include "scheduler/time/phase_work.h"

namespace weft::scheduler {
namespace {

double up_to(double n, double unit) { return std::ceil(n / unit) * unit; }

/// oneDNN's blocks with AVX-512: 16 rows (BF16: 32, as two make a pair) by 64 columns.
double library_copy(double inner, double columns, bool wide) {
  return up_to(inner, wide ? 16 : 32) * up_to(columns, 64) * (wide ? 4 : 2);
}

/// Panels of 32 columns; codes stand as pairs of BF16 numbers, a scale for 128 of a column.
double fp8_copy(double inner, double columns) {
  return up_to(columns, 32) * 4 * (std::ceil(inner / 2) + std::ceil(inner / 128));
}

struct Packer {
  Precision precision;
  bool backward;
  double bytes = 0;

  /// `narrow`: of those that are FP8 where the job is.
  void add(double out, double in, double count = 1, bool narrow = true) {
    const bool fp8 = narrow && precision == Precision::FP8;
    const bool wide = precision == Precision::F32;
    double one = fp8 ? fp8_copy(in, out) : library_copy(in, out, wide);
    // An F32 product for the input reads the weight as it lies.
    if (backward && !wide) one += fp8 ? fp8_copy(out, in) : library_copy(out, in, false);
    bytes += count * one;
  }
  void add_gate(double out, double in) { bytes += library_copy(in, out, true); }
  void add_mlp(double hidden, double width, double count = 1) {
    if (width == 0) return;
    add(2 * width, hidden, count);
    add(hidden, width, count);
  }
};

void add_attention(const ModelShape& m, Packer& packer) {
  if (!m.latent) {
    packer.add(1.0 * m.heads * m.head_dim, m.hidden);
    packer.add(1.0 * m.kv_heads * m.head_dim, m.hidden, 2);
    packer.add(m.hidden, 1.0 * m.heads * m.head_dim);
    return;
  }
  const double queries = 1.0 * m.heads * (m.nope + m.rope);
  if (m.q_lora > 0) packer.add(m.q_lora, m.hidden);
  packer.add(queries, m.q_lora > 0 ? m.q_lora : m.hidden);
  packer.add(m.kv_lora + m.rope, m.hidden);
  packer.add(1.0 * m.heads * (m.nope + m.value), m.kv_lora);
  packer.add(m.hidden, 1.0 * m.heads * m.value);
}

}  // namespace

double packed_bytes(const Work& work, const StageBlocks& stage) {
  const ModelShape& m = work.model;
  Packer packer{work.precision, true};
  for (int layer = 0; layer < stage.layers(); ++layer) {
    const Block block = block_at(stage, layer);
    add_attention(m, packer);
    if (block == Block::NextToken) packer.add(m.hidden, 2.0 * m.hidden, 1, false);
    if (!exchanges(work, block)) {
      packer.add_mlp(m.hidden, m.intermediate);
      continue;
    }
    packer.add_gate(m.experts, m.hidden);
    packer.add_mlp(m.hidden, 1.0 * m.shared * m.moe_intermediate);
    packer.add_mlp(m.hidden, m.moe_intermediate, 1.0 * m.experts / work.layout.expert);
  }
  // Decoding reads what the codes of kv_up stand for.
  if (work.rollout_sequences > 0 && work.precision == Precision::FP8 && m.latent)
    packer.bytes += 4.0 * (stage.dense + stage.moe) * m.heads * (m.nope + m.value) * m.kv_lora;
  if (stage.last) packer.add(m.vocab, m.hidden, 1, false);
  return packer.bytes;
}

double packed_replica_bytes(const Work& work) {
  Packer packer{work.precision, false};
  packer.add_mlp(work.model.hidden, work.model.moe_intermediate);
  return packer.bytes;
}

}  // namespace weft::scheduler
