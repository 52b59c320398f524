#include "scheduler/work.h"

namespace weft::scheduler {

std::string_view to_string(Precision precision) {
  constexpr std::string_view kNames[] = {"f32", "bf16", "fp8"};
  return kNames[static_cast<int>(precision)];
}

std::string_view to_string(Recompute recompute) {
  constexpr std::string_view kNames[] = {"none", "mla_up", "full"};
  return kNames[static_cast<int>(recompute)];
}

Expected<Precision> parse_precision(std::string_view text) {
  if (text == "f32" || text == "fp32") return Precision::F32;
  if (text == "bf16") return Precision::BF16;
  if (text == "fp8") return Precision::FP8;
  return fail(Code::InvalidArgument,
              "'" + std::string(text) + "' is no precision: f32, bf16 or fp8");
}

Expected<Recompute> parse_recompute(std::string_view text) {
  if (text == "none") return Recompute::None;
  if (text == "mla_up") return Recompute::MlaUp;
  if (text == "full") return Recompute::Full;
  return fail(Code::InvalidArgument,
              "'" + std::string(text) + "' is no recomputation: none, mla_up or full");
}

std::vector<StageBlocks> stage_blocks(const ModelShape& model, const Placement& placement) {
  std::vector<StageBlocks> out;
  for (const StageLayers& layers : placement.stages) {
    StageBlocks& blocks = out.emplace_back();
    for (int layer = layers.first; layer < layers.first + layers.count; ++layer)
      ++(model.is_moe(layer) ? blocks.moe : blocks.dense);
    blocks.next_token = layers.next_token;
  }
  out.front().first = true;
  out.back().last = true;
  return out;
}

}  // namespace weft::scheduler
