#include <nlohmann/json.hpp>
#include <ostream>

#include "base/text.h"
#include "runtime/cli/pattern.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "runtime/store/run_store.h"

namespace weft::cli {
namespace {

using nlohmann::json;

std::string first_of(const json& sample, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (const std::string text = cell(sample, key); text != "-") return text;
  return "-";
}

double reward_of(const json& sample) {
  for (const char* key : {"score", "reward"})
    if (const auto found = sample.find(key); found != sample.end() && found->is_number())
      return found->get<double>();
  return 0;
}

bool wanted(const json& sample, const SamplesOptions& options, const Pattern& pattern) {
  const double reward = reward_of(sample);
  return reward >= options.min_reward && reward <= options.max_reward &&
         pattern.found_in(first_of(sample, {"input", "prompt"}) + "\n" +
                          first_of(sample, {"output", "completion"}));
}

/// The newest step that has samples, or the one asked for.
Expected<long long> chosen_step(const runtime::RunPaths& paths, long long asked) {
  const std::vector<long long> steps = runtime::sample_steps(paths);
  if (steps.empty())
    return fail(Code::NotFound, paths.samples().string() + " holds no samples yet");
  if (asked < 0) return steps.back();
  if (std::ranges::find(steps, asked) != steps.end()) return asked;
  std::vector<std::string> near;
  for (const long long step : steps) near.push_back(std::to_string(step));
  if (near.size() > 12) near.erase(near.begin(), near.end() - 12);
  return fail(Code::NotFound, "no samples of step " + std::to_string(asked) +
                                  "; the last that have some: " + join(near, ", "));
}

}  // namespace

int verb_samples(const SamplesOptions& options, Io& io) {
  const auto root = find_run(options.run);
  if (!root) return report(root.error(), io);
  const auto pattern = Pattern::compile(options.grep);
  if (!pattern) {
    report(pattern.error(), io);
    return kUsage;
  }
  const runtime::RunPaths paths{*root};
  const auto step = chosen_step(paths, options.step);
  if (!step) return report(step.error(), io);
  auto samples = runtime::read_json_lines(paths.samples() / (std::to_string(*step) + ".jsonl"));
  if (!samples) return report(samples.error(), io);
  std::erase_if(*samples, [&](const json& s) { return !wanted(s, options, *pattern); });
  if (options.limit > 0 && samples->size() > static_cast<std::size_t>(options.limit))
    samples->resize(static_cast<std::size_t>(options.limit));
  const std::vector<Column> columns = {
      {"REWARD",
       [](const json& s) {
         return first_of(s, {"score", "reward"});
       },
       true},
      {"ADVANTAGE", [](const json& s) { return cell(s, "advantage"); }, true},
      {"PROMPT",
       [](const json& s) {
         return first_of(s, {"input", "prompt"});
       }},
      {"COMPLETION", [](const json& s) {
         return first_of(s, {"output", "completion"});
       }}};
  print_list(io, options.format, "samples", *samples, columns, "id");
  if (options.format == Format::Table)
    io.err << samples->size() << " samples of step " << *step << "; another step: weft samples "
           << root->string() << " --step N\n";
  return kOk;
}

}  // namespace weft::cli
