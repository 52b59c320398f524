// How a supervised stage goes: the batch and the learning rate of every step.
#pragma once

#include "runtime/job/job.h"
#include "trainer/optimizer/batch_plan.h"
#include "trainer/optimizer/curve.h"

namespace weft::runtime {

/// A pure function of the step, the same on every rank and after every resume.
struct Course {
  trainer::optimizer::BatchPlan plan;
  trainer::optimizer::Curve lr, mtp_weight;

  double learning_rate(long long step) const { return lr.at(step, plan); }
  /// Of the multi-token prediction modules' mean loss.
  double next_token_weight(long long step) const { return mtp_weight.at(step, plan); }
};

/// `sequence_tokens`: of each sequence, or 0 where they differ in length.
/// Errors: InvalidArgument with "<message>\n<hint>" naming the field: a curve that cannot be read,
/// a ramp that cannot be, lengths in tokens where sequences differ.
Expected<Course> course_of(const SupervisedJob& job, int sequence_tokens);

/// Steps of all its stages together, reinforcement learning's too.
long long recipe_steps(const Job& job);

/// Of the job's data.
int sequence_tokens(const Job& job);

}  // namespace weft::runtime
