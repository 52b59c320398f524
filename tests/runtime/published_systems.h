// Published figures of systems of this class, and what is predicted for them with the shipped
// cluster files. For the test that holds us to them, and for tests/bench/plan_accuracy.
#pragma once

#include <string>
#include <vector>

#include "runtime/cluster/cluster_file.h"
#include "runtime/job/load.h"
#include "runtime/plan/work_of_job.h"
#include "scheduler/plan/plan.h"

namespace weft::runtime {

struct Published {
  std::string system, what, unit;
  double published = 0, predicted = 0;
  double tolerance = 0;  // that was promised; 0: shown only
  std::string source;
  double error() const { return predicted / published - 1; }
};

inline scheduler::Cluster shipped_cluster(const std::string& name) {
  return load_cluster(WEFT_SOURCE_DIR "/deploy/clusters/" + name + ".yaml").cluster;
}

/// DeepSeek-V3 as deploy/jobs/v3-pretrain.yaml trains it.
inline scheduler::Work v3_work() {
  LoadOptions options{
      .overrides = {{}, {"model.config=" WEFT_SOURCE_DIR "/deploy/models/deepseek-v3.config.json"}},
      .check_files = false,
      .here = false};
  return work_of(load_job(WEFT_SOURCE_DIR "/deploy/jobs/v3-pretrain.yaml", options).job).value();
}

inline std::vector<Published> v3_on_h800() {
  const auto plan = scheduler::predict(v3_work(), shipped_cluster("h800-2048")).value();
  const scheduler::StepTime& s = plan.step;
  const std::string source = "arXiv 2505.09343, table 4";
  std::vector<Published> out = {
      {"DeepSeek-V3, 2,048 H800", "step", "s", 19.926, s.total, 0.05, source},
      {"", "1F", "s", 1.13, s.forward, 0.20, source},
      {"", "bubble", "s", 2.06, s.bubble, 0.20, source},
      {"", "1B", "s", 1.99, s.backward_input, 0.20, source},
      {"", "1W", "s", 0.48, s.backward_weight, 0.20, source},
      {"", "1F1B", "s", 13.95, s.pairs, 0.20, source},
      {"", "optimizer", "s", 0.29, s.optimizer(), 0.20, source},
      {"", "MFU causal", "%", 38.94, 100 * plan.mfu, 0.05, source},
      {"", "MFU non-causal", "%", 43.73, 100 * plan.mfu_full, 0.05, source}};
  const double hours = 2048 * s.total / 3600 / plan.work.step_tokens() * 1e12 / 1e3;
  out.push_back(
      {"", "GPU-hours a trillion tokens", "K", 180, hours, 0.05, "arXiv 2412.19437, table 1"});
  return out;
}

/// DeepSeek-V2: 236B, BF16, no tensor parallelism. The number of GPUs is not published: 1,024
/// taken.
inline Published v2_on_h800() {
  scheduler::Work w;
  auto& m = w.model;
  m.layers = 60;
  m.dense_layers = 1;
  m.hidden = 5120;
  m.vocab = 102400;
  m.intermediate = 12288;
  m.moe_intermediate = 1536;
  m.heads = 128;
  m.q_lora = 1536;
  m.kv_lora = 512;
  m.nope = 128;
  m.rope = 64;
  m.value = 128;
  m.experts = 160;
  m.top_k = 6;
  m.shared = 2;
  m.groups = 8;
  m.top_groups = 3;
  // 9,216 sequences of 4,096: 144 a lane.
  w.layout = {dualpipe::Kind::ZeroBubble, 16, 64, 8, 144};
  w.precision = w.dispatch = scheduler::Precision::BF16;
  w.recompute = scheduler::Recompute::MlaUp;
  const auto plan = scheduler::predict(w, shipped_cluster("h800-2048")).value();
  return {"DeepSeek-V2, H800, zero-bubble PP16 EP8",
          "GPU-hours a trillion tokens",
          "K",
          172.8,
          1e12 / (plan.tokens_per_second / plan.gpus) / 3600 / 1e3,
          0.15,
          "arXiv 2405.04434, 3.2.3"};
}

/// DeepSeek-V3 in Megatron-Core (NeMo performance summaries): FP8, routing balanced by force.
inline Published v3_megatron(const std::string& name, const std::string& cluster,
                             scheduler::Layout layout, double tokens_a_gpu, double tolerance) {
  scheduler::Work w = v3_work();
  w.layout = layout;
  scheduler::TimeAssumptions assumptions;
  assumptions.load_variation = 0;
  const auto plan = scheduler::predict(w, shipped_cluster(cluster), assumptions).value();
  return {name,
          "tokens/s a GPU",
          "",
          tokens_a_gpu,
          plan.tokens_per_second / plan.gpus,
          tolerance,
          "NeMo Megatron-Bridge performance summary 25.09 and 25.11"};
}

inline std::vector<Published> other_systems() {
  using dualpipe::Kind;
  return {v2_on_h800(),
          // Tensor parallelism of 2 there; none here.
          v3_megatron("DeepSeek-V3, 1,024 H100, PP8 EP64 (theirs: TP2)", "h100-1024",
                      {Kind::Interleaved, 8, 128, 64, 64}, 1297, 0.15),
          v3_megatron("DeepSeek-V3, 256 GB200, PP4 EP64", "gb200-nvl72",
                      {Kind::Interleaved, 4, 64, 64, 32}, 3653, 0.15),
          // Their guide for the same GPU calls such runs bound by the host, which is not modelled.
          v3_megatron("DeepSeek-V3, 256 B200, PP16 EP8", "b200", {Kind::OneFOneB, 16, 16, 8, 128},
                      2139, 0)};
}

}  // namespace weft::runtime
