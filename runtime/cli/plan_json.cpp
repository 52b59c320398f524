// plan_report.h's JSON.
#include <nlohmann/json.hpp>

#include "runtime/cli/plan_report.h"

namespace weft::cli {

using nlohmann::json;
using namespace scheduler;

namespace {

json memory_json(const RankBytes& b) {
  return {{"weights", b.weights},
          {"gradients", b.gradients},
          {"masters", b.masters},
          {"moments", b.moments},
          {"received", b.received},
          {"packed", b.packed},
          {"activations", b.activations},
          {"buffers", b.buffers()},
          {"exchange", b.exchange},
          {"messages", b.messages},
          {"transport", b.transport},
          {"collectives", b.collectives},
          {"kv_cache", b.kv_cache},
          {"replicas", b.replicas},
          {"packed_replicas", b.packed_replicas},
          {"live", b.live},
          {"total", b.total()}};
}

json run_json(const RunCost& run) {
  return {{"steps", run.steps},
          {"tokens", run.tokens},
          {"seconds", run.seconds},
          {"seconds_90", {run.seconds_low, run.seconds_high}},
          {"productive_seconds", run.productive},
          {"checkpoint_seconds", run.checkpoints},
          {"failures", run.failures},
          {"lost_seconds", run.lost},
          {"goodput", run.goodput()},
          {"gpu_hours", run.gpu_hours},
          {"dollars", run.dollars},
          {"kilowatt_hours", run.kilowatt_hours}};
}

}  // namespace

json candidate_json(const Candidate& c) {
  const Layout& l = c.work.layout;
  json out = {{"schedule", dualpipe::to_string(l.kind)},
              {"pipeline", l.pipeline},
              {"data", l.data},
              {"expert", l.expert},
              {"micro_batches", l.micro_batches},
              {"micro_batch_sequences", c.work.micro_batch_sequences},
              {"recompute", to_string(c.work.recompute)},
              {"precision", to_string(c.work.precision)},
              {"step_seconds", c.step_seconds},
              {"peak_bytes", c.peak_bytes},
              {"bubble_share", c.bubble_share},
              {"exposed_share", c.exposed_share},
              {"tokens_per_second", c.tokens_per_second}};
  if (c.dominated_by >= 0) out["dominated_by"] = c.dominated_by;
  return out;
}

json plan_json(const Prediction& plan, const Inputs& inputs, const std::vector<Alternative>& why,
               const std::vector<Proposal>& changes) {
  const StepTime& s = plan.step;
  json out = {{"fits", plan.fits},
              {"changes", json::array()},
              {"problems", plan.problems},
              {"deadlock_free", plan.deadlock_free},
              {"cluster", inputs.cluster.name},
              {"gpus", plan.gpus},
              {"nodes", plan.nodes},
              {"spare_nodes", plan.spare_nodes},
              {"layout", layout_text(plan.work)},
              {"tokens_per_step", plan.work.step_tokens()},
              {"peak_bytes", plan.peak_bytes()},
              {"fullest_position", plan.fullest},
              {"checkpoint_stall", plan.checkpoint_stall},
              {"assumptions", assumptions_of(inputs)}};
  if (plan.timed) {
    out["step"] = {{"total", s.total},
                   {"forward", s.forward},
                   {"backward_input", s.backward_input},
                   {"backward_weight", s.backward_weight},
                   {"pairs", s.pairs},
                   {"bubble", s.bubble},
                   {"optimizer", s.optimizer()},
                   {"exchange", s.exchange},
                   {"exposed_exchange", s.exposed_exchange},
                   {"imbalance", s.imbalance}};
    out["tokens_per_second"] = plan.tokens_per_second;
    out["mfu_causal"] = plan.mfu;
    out["mfu_non_causal"] = plan.mfu_full;
  }
  for (const Proposal& change : changes)
    out["changes"].push_back({{"what_if", change.what_if},
                              {"step_seconds", change.step_seconds},
                              {"peak_bytes", change.peak_bytes}});
  for (const RankBytes& bytes : plan.memory) out["memory"].push_back(memory_json(bytes));
  if (plan.run) out["run"] = run_json(*plan.run);
  for (const Alternative& a : why)
    out["why"].push_back({{"decision", a.decision},
                          {"chosen", a.chosen},
                          {"other", a.other},
                          {"possible", a.possible},
                          {"slower", a.slower},
                          {"bytes", a.bytes},
                          {"dollars", plan.run ? plan.run->dollars * a.slower : 0.0},
                          {"why_not", a.why_not}});
  return out;
}

}  // namespace weft::cli
