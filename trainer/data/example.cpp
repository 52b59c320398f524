#include "trainer/data/example.h"

#include "trainer/tokenizer/conversation.h"

namespace weft::trainer::data {
namespace {

Style draw_style(const Mixture& mixture, Rng& rng) {
  const double u = rng.uniform();
  if (u < mixture.blind) return Style::Blind;
  if (u < mixture.blind + mixture.complete) return Style::Complete;
  return Style::EarlyStop;
}

bool is_share(double x) { return x >= 0.0 && x <= 1.0; }  // false for NaN

}  // namespace

std::vector<std::int32_t> prompt_tokens(const Tokenizer& tokenizer, std::string_view prompt) {
  if (tokenizer.chat()) return *tokenizer::encode_question(tokenizer, prompt);
  std::vector<std::int32_t> tokens = tokenizer.encode(prompt);
  if (const auto bos = tokenizer.bos()) tokens.insert(tokens.begin(), *bos);
  return tokens;
}

Example make_example(const Tokenizer& tokenizer, std::string_view prompt,
                     std::string_view completion) {
  // Encoded apart, as a rollout sees them: no token spans the border.
  Example example{.tokens = prompt_tokens(tokenizer, prompt), .prompt_length = 0};
  example.prompt_length = static_cast<int>(example.tokens.size());
  const std::vector<std::int32_t> rest = tokenizer.encode(completion);
  example.tokens.insert(example.tokens.end(), rest.begin(), rest.end());
  if (tokenizer.eos() >= 0) example.tokens.push_back(tokenizer.eos());
  return example;
}

Expected<void> check(const Mixture& mixture) {
  const auto refuse = [](std::string what) {
    return fail(Code::InvalidArgument, "cold_start." + std::move(what));
  };
  if (!is_share(mixture.blind)) return refuse("blind must be a share between 0 and 1");
  if (!is_share(mixture.complete)) return refuse("complete must be a share between 0 and 1");
  if (!is_share(mixture.broken_format))
    return refuse("broken_format must be a share between 0 and 1");
  if (mixture.blind + mixture.complete > 1.0 + 1e-9)
    return refuse("blind + cold_start.complete must not exceed 1 (the rest gives up early)");
  return {};
}

Example pretrain_example(const Task& task, const Tokenizer& tokenizer, std::uint64_t seed,
                         std::uint64_t step, std::uint64_t index) {
  Rng rng(seed, "example/pretrain", step, index);
  const Problem problem = task.problem(rng, Split::Train);
  return make_example(tokenizer, problem.prompt, task.demonstration(problem, Style::Complete, rng));
}

Example cold_start_example(const Task& task, const Tokenizer& tokenizer, const Mixture& mixture,
                           std::uint64_t seed, std::uint64_t step, std::uint64_t index) {
  Rng rng(seed, "example/cold_start", step, index);
  const Problem problem = task.problem(rng, Split::Train);
  std::string text = task.demonstration(problem, draw_style(mixture, rng), rng);
  if (rng.uniform() < mixture.broken_format) text = break_format(text, rng);
  return make_example(tokenizer, problem.prompt, text);
}

}  // namespace weft::trainer::data
