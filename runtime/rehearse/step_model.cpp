#include "runtime/rehearse/step_model.h"

#include <algorithm>
#include <cmath>

namespace weft::runtime {

using dualpipe::Op;

Expected<StepModel> StepModel::create(const scheduler::Layout& layout, const StepCosts& costs) {
  StepModel model;
  model.costs_ = costs;
  WEFT_TRY_ASSIGN(model.schedule_,
                  dualpipe::generate(layout.kind, {layout.pipeline, layout.micro_batches}));
  WEFT_TRY_ASSIGN(model.timeline_, model.run(std::vector<double>(layout.pipeline, 1.0)));
  model.ideal_ = model.timeline_.makespan + costs.step_end;
  if (costs.total > 0 && model.ideal_ > 0) model.scale_ = costs.total / model.ideal_;
  model.ideal_ *= model.scale_;
  return model;
}

Expected<dualpipe::Timeline> StepModel::run(std::span<const double> factors) const {
  dualpipe::Costs costs;
  costs.of_action = [&](int rank, const dualpipe::Action& action) {
    const double factor = factors[static_cast<std::size_t>(rank)];
    switch (action.op) {
      case Op::F:
        return factor * costs_.forward;
      case Op::B:
        return factor * (costs_.backward_input + costs_.weight);
      case Op::BI:
        return factor * costs_.backward_input;
      case Op::W:
        return factor * costs_.weight;
      case Op::FB:
        return factor * costs_.pair;
      default:
        return 0.0;
    }
  };
  return dualpipe::timeline(schedule_, costs);
}

double StepModel::seconds(std::span<const double> factors) {
  std::vector<int> key;
  for (const double factor : factors) key.push_back(static_cast<int>(std::lround(factor * 1000)));
  if (std::ranges::all_of(key, [](int k) { return k <= 1000; })) return ideal_;
  const auto [found, is_new] = known_.try_emplace(key, 0.0);
  if (is_new) {
    const auto timeline = run(factors);
    found->second = timeline ? scale_ * (timeline->makespan + costs_.step_end) : ideal_;
  }
  return found->second;
}

}  // namespace weft::runtime
