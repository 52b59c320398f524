// One training sequence and the supervised mixtures it is drawn from.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "trainer/data/task.h"
#include "trainer/data/tokenizer.h"

namespace weft::trainer::data {

/// bos, prompt, completion, and eos unless the completion was cut off or the tokenizer has none.
/// Loss is taken on what comes after the prompt only.
struct Example {
  std::vector<std::int32_t> tokens;
  int prompt_length = 0;  // bos included

  int completion_length() const { return static_cast<int>(tokens.size()) - prompt_length; }
  friend bool operator==(const Example&, const Example&) = default;
};

/// bos, where the tokenizer has one, and prompt: what a rollout starts from. With a chat template,
/// the prompt as a user's question, up to where the assistant begins.
std::vector<std::int32_t> prompt_tokens(const Tokenizer& tokenizer, std::string_view prompt);

Example make_example(const Tokenizer& tokenizer, std::string_view prompt,
                     std::string_view completion);

/// Shares of the cold start's demonstrations; what is neither blind nor complete gives up early.
struct Mixture {
  double blind = 0.30;
  double complete = 0.25;
  double broken_format = 0.30;  // of all, whatever their style
};

/// Errors: InvalidArgument for a share outside 0..1 or blind + complete above 1.
Expected<void> check(const Mixture& mixture);

/// Sequence `index` of step `step`, a function of the arguments: complete correct traces in
/// well-formed format on problems of the training side.
Example pretrain_example(const Task& task, const Tokenizer& tokenizer, std::uint64_t seed,
                         std::uint64_t step, std::uint64_t index);
/// The same for the cold start; `mixture` has passed check().
Example cold_start_example(const Task& task, const Tokenizer& tokenizer, const Mixture& mixture,
                           std::uint64_t seed, std::uint64_t step, std::uint64_t index);

}  // namespace weft::trainer::data
