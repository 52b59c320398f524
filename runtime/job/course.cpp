#include "runtime/job/course.h"

#include <algorithm>

namespace weft::runtime {

using trainer::optimizer::BatchPlan;
using trainer::optimizer::Curve;
using trainer::optimizer::CurvePhase;

namespace {

/// lr, warmup, lr_schedule and min_lr in the words of a curve.
Curve plain_curve(const SupervisedJob& job) {
  using Shape = CurvePhase::Shape;
  std::vector<CurvePhase> phases;
  if (job.warmup > 0) phases.push_back({Shape::Linear, job.lr, static_cast<double>(job.warmup)});
  if (job.lr_schedule == "cosine") {
    if (job.warmup == 0) phases.push_back({Shape::Constant, job.lr, 0});
    phases.push_back(
        {Shape::Cosine, job.min_lr, static_cast<double>(std::max(1, job.steps - job.warmup))});
  } else {
    phases.push_back({Shape::Constant, job.lr, 1});
  }
  return Curve(std::move(phases));
}

}  // namespace

long long recipe_steps(const Job& job) {
  long long steps = 0;
  for (const std::string& stage : job.recipe)
    steps += stage == "pretrain"     ? job.pretrain.steps
             : stage == "cold_start" ? job.cold_start.steps
                                     : job.grpo.steps;
  return steps;
}

int sequence_tokens(const Job& job) {
  const bool windows =
      job.data.task == "text" || (job.data.task == "files" && job.data.pack == "stream");
  return windows ? job.data.context : 0;
}

Expected<Course> course_of(const SupervisedJob& job, int sequence_tokens) {
  Curve curve = plain_curve(job);
  if (!job.lr_curve.empty()) {
    auto parsed = Curve::parse(job.lr_curve);
    if (!parsed) return fail(Code::InvalidArgument, "lr_curve: " + parsed.error().message);
    curve = std::move(*parsed);
  }
  auto mtp_weight = Curve::parse(job.mtp_weight);
  if (!mtp_weight) return fail(Code::InvalidArgument, "mtp_weight: " + mtp_weight.error().message);
  const bool tokens = curve.in_tokens() || mtp_weight->in_tokens();
  if (sequence_tokens == 0 && (tokens || job.batch_start > 0))
    return fail(
        Code::InvalidArgument,
        std::string(curve.in_tokens() ? "lr_curve"
                    : tokens          ? "mtp_weight"
                                      : "batch_ramp") +
            " counts tokens, and this data's sequences have no common length\n"
            "lengths in tokens need windows of text (data.task: text, or files with data.pack: "
            "stream); write the curve in steps");
  auto plan = BatchPlan::make({.batch = job.batch,
                               .start = job.batch_start,
                               .tokens = static_cast<double>(job.batch_ramp),
                               .sequence_tokens = std::max(1, sequence_tokens)});
  if (!plan)
    return fail(Code::InvalidArgument, "batch_start: " + plan.error().message +
                                           "\nsuch as batch_start: 4 with batch: 16 and "
                                           "batch_ramp: 100K");
  return Course{std::move(*plan), std::move(curve), std::move(*mtp_weight)};
}

}  // namespace weft::runtime
