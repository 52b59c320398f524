#include "runtime/worker/recipe_numbers.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace weft::runtime {

namespace {

constexpr std::size_t kRecent = 16, kRecentMin = 8;  // updates that a median is made from

}  // namespace

StepLimits step_limits(const WatchJob& watch, const RecipeState& state) {
  const double factor = watch.spike_factor;
  if (factor <= 0 || state.recent_loss.size() < kRecentMin) return {};
  const auto limit = [&](std::vector<double> recent) {
    const auto middle = recent.begin() + static_cast<std::ptrdiff_t>(recent.size() / 2);
    std::ranges::nth_element(recent, middle);
    return factor * *middle;
  };
  return {limit(state.recent_loss), limit(state.recent_norm)};
}

void remember_update(const WatchJob& watch, RecipeState& state, const TrainResult& result) {
  if (watch.spike_factor <= 0 || !result.applied) return;
  const auto keep = [](std::vector<double>& recent, double value) {
    if (recent.size() == kRecent) recent.erase(recent.begin());
    recent.push_back(value);
  };
  keep(state.recent_loss, result.loss);
  keep(state.recent_norm, result.grad_norm);
}

Expected<void> judge_numbers(RecipeRun& run, const StepOutcome& outcome) {
  if (!outcome.corruption) return {};
  const std::string text = "silent corruption in step " + std::to_string(run.state.step) + ": " +
                           outcome.corruption->text;
  run.event("corruption", text, {{"step", run.state.step}, {"ranks", outcome.corruption->ranks}});
  if (run.job.watch.on_corruption == "continue") return {};
  return fail(Code::Corrupt, text +
                                 "; what it computed before is in doubt too. Take its machine "
                                 "out, or set watch.on_corruption: continue");
}

void tell_left_out(RecipeRun& run, const StepOutcome& outcome) {
  if (outcome.applied) return;
  const bool spike = outcome.finite;
  run.event(
      spike ? "spike" : "nonfinite",
      "step " + std::to_string(run.state.step) + ": loss or gradient " +
          (spike ? "above watch.spike_factor times its median" : "not finite") +
          "; the update was left out" +
          (outcome.tries > 1 && !outcome.corruption ? " (a second try gave the same bits)" : ""),
      {{"step", run.state.step}, {"tries", outcome.tries}});
}

void SpeedWatch::look(RecipeRun& run, StepOutcome& outcome) {
  const WatchJob& watch = run.job.watch;
  if (!run.reports() || watch.straggler_threshold <= 0 || outcome.tries > 1) return;
  if (peers_.empty()) peers_ = run.engine->peers();
  const StragglerOptions options{watch.straggler_threshold, watch.straggler_window};
  const StragglerFinding found =
      watch_stragglers(stragglers_, run.state.step, run.engine->self_seconds(),
                       static_cast<double>(outcome.tokens), peers_, options);
  if (!found.scored) return;
  const auto slowest = std::ranges::min(found.scores, {}, &StragglerScore::relative);
  (*outcome.record)["straggler_score"] = slowest.relative;
  for (const StragglerChange& change : found.changes) {
    const bool swap = change.lasts && watch.swap_stragglers;
    if (change.lasts && !swap) continue;
    run.event(
        change.flagged ? "straggler" : "straggler_ended", describe(change, options),
        {{"rank", change.rank},
         {"stages", run.engine->placement().ranks[static_cast<std::size_t>(change.rank)].stages},
         {"relative", change.score.relative},
         {"individual", change.score.individual},
         {"since", change.since},
         {"step", run.state.step},
         {"swap", swap}});
  }
}

}  // namespace weft::runtime
