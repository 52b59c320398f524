#include "runtime/worker/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>

namespace weft::runtime {

using nlohmann::json;
namespace data = trainer::data;

Expected<json> evaluate_problems(const Job& job, const Workload& workload, Engine& engine,
                                 const Evaluation& evaluation) {
  std::vector<data::Problem> problems;
  std::vector<std::vector<std::int32_t>> prompts;
  for (int i = 0; i < evaluation.problems; ++i) {
    problems.push_back(
        workload.task().problem(job.seed, data::Split::HeldOut, i, evaluation.difficulty));
    prompts.push_back(data::prompt_tokens(workload.tokenizer(), problems.back().prompt));
  }
  GenerateOptions options;
  options.max_new_tokens = evaluation.max_new_tokens;
  options.end_token = workload.tokenizer().eos();
  options.seed = job.seed;
  options.purpose = "evaluation";
  options.step = evaluation.step;
  WEFT_TRY_ASSIGN(const std::vector<Completion> completions, engine.generate(prompts, options));

  struct Sum {
    int count = 0, correct = 0;
    double length = 0;
  };
  Sum all;
  double format = 0;
  std::map<int, Sum> by_difficulty;
  for (std::size_t i = 0; i < problems.size(); ++i) {
    std::vector<std::int32_t> tokens = completions[i].tokens;
    if (completions[i].finished) tokens.pop_back();
    const std::string text = workload.tokenizer().decode(tokens);
    const bool correct = trainer::rl::accuracy_answer(text, problems[i].answer) > 0;
    format += trainer::rl::format_think_answer(text);
    for (Sum* sum : {&all, &by_difficulty[problems[i].difficulty]}) {
      ++sum->count;
      sum->correct += correct;
      sum->length += static_cast<double>(completions[i].tokens.size());
    }
  }
  json lengths = json::object(), accuracies = json::object();
  for (const auto& [difficulty, sum] : by_difficulty) {
    lengths[std::to_string(difficulty)] = sum.length / sum.count;
    accuracies[std::to_string(difficulty)] = static_cast<double>(sum.correct) / sum.count;
  }
  return json{{"eval_accuracy", static_cast<double>(all.correct) / all.count},
              {"eval_problems", all.count},
              {"eval_length", all.length / all.count},
              {"eval_format", format / all.count},
              {"eval_length_by_difficulty", lengths},
              {"eval_accuracy_by_difficulty", accuracies}};
}

Expected<json> evaluate_text(const Workload& workload, Engine& engine) {
  const data::TextCorpus& corpus = workload.corpus();
  const int parts = engine.num_micro_batches();
  const int total = corpus.num_validation_windows();
  double loss = 0;
  for (int begin = 0; begin < total; begin += parts) {
    // The last round repeats earlier windows to give every micro-batch one; they are not counted.
    std::vector<std::vector<std::int32_t>> windows;
    for (int i = 0; i < parts; ++i)
      windows.push_back(corpus.validation_window((begin + i) % total));
    WEFT_TRY_ASSIGN(const auto batch, data::pack_windows(windows, parts, trainer::Mode::Score));
    WEFT_TRY_ASSIGN(const Engine::Scores scores, engine.score(batch));
    for (int i = 0; i < parts && begin + i < total; ++i)
      for (const float logprob : scores.logprobs[i]) loss -= logprob;
  }
  const double per_byte = loss / static_cast<double>(corpus.predicted_bytes());
  return json{{"val_loss", per_byte * corpus.validation_bytes_per_character()},
              {"val_loss_per_byte", per_byte},
              {"val_bits_per_byte", per_byte / std::numbers::ln2},
              {"val_bytes", corpus.predicted_bytes()}};
}

Expected<json> evaluate_files(const StageData& stage, Engine& engine) {
  if (!stage.validation) return json{{"val_tokens", 0}};
  const trainer::corpus::Dataset& held = *stage.validation;
  const int parts = engine.num_micro_batches();
  const auto total = static_cast<std::uint64_t>(stage.validation_windows);
  double loss = 0;
  long long predicted = 0;
  for (std::uint64_t begin = 0; begin < total; begin += static_cast<std::uint64_t>(parts)) {
    // The last round repeats earlier windows to give every micro-batch one; they are not counted.
    const int counted = static_cast<int>(std::min<std::uint64_t>(parts, total - begin));
    WEFT_TRY_ASSIGN(std::vector<trainer::corpus::Planned> plan, held.spread(total, begin, counted));
    const std::size_t real = plan.size();
    WEFT_TRY_ASSIGN(
        const auto filling,
        held.spread(total, begin + static_cast<std::uint64_t>(counted), parts - counted));
    plan.insert(plan.end(), filling.begin(), filling.end());
    WEFT_TRY_ASSIGN(const auto batch, held.batch(plan, parts, trainer::Mode::Score,
                                                 [&](int i) { return engine.needs(i); }));
    WEFT_TRY_ASSIGN(const Engine::Scores scores, engine.score(batch));
    for (std::size_t i = 0; i < real; ++i) {
      for (const float logprob : scores.logprobs[i]) loss -= logprob;
      predicted += plan[i].shape.tokens - plan[i].shape.prompt_length;
    }
  }
  double tokens = 0, bytes = 0;
  for (const auto& source : held.sources()) {
    const trainer::corpus::IndexCounts& c = source->counts();
    const bool part = c.held_tokens > 0;
    tokens += static_cast<double>(part ? c.held_tokens : c.tokens);
    bytes += static_cast<double>(part ? c.held_bytes : c.text_bytes);
  }
  const double per_token = loss / static_cast<double>(std::max(1LL, predicted));
  return json{{"val_loss", per_token},
              {"val_loss_per_byte", per_token * tokens / std::max(bytes, 1.0)},
              {"val_tokens", predicted}};
}

std::string describe_evaluation(const json& scores) {
  if (scores.contains("val_tokens")) {
    if (!scores.contains("val_loss")) return "nothing is held out (data.validation_fraction = 0)";
    return fmt::format("validation loss {:.4f} nats per token ({} tokens)",
                       scores["val_loss"].get<double>(), scores["val_tokens"].get<long long>());
  }
  if (scores.contains("val_loss"))
    return fmt::format("validation loss {:.4f} nats per character",
                       scores["val_loss"].get<double>());
  std::string text = fmt::format(
      "accuracy {:.3f}, {:.1f} tokens ({} held-out problems; by difficulty, accuracy/tokens:",
      scores["eval_accuracy"].get<double>(), scores["eval_length"].get<double>(),
      scores["eval_problems"].get<int>());
  for (const auto& [difficulty, length] : scores["eval_length_by_difficulty"].items())
    text += fmt::format(" {}: {:.2f}/{:.1f}", difficulty,
                        scores["eval_accuracy_by_difficulty"][difficulty].get<double>(),
                        length.get<double>());
  return text + ")";
}

}  // namespace weft::runtime
