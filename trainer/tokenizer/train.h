// A byte-level BPE vocabulary learned from text: the same text gives the same tokenizer, whatever
// the machine.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::trainer::tokenizer {

struct TrainOptions {
  int vocab_size = 2048;  // special tokens included
  /// How text is cut: deepseek-v3, llama-3, qwen-2 or gpt-2.
  std::string pre_tokenizer = "deepseek-v3";
  /// Added behind the vocabulary, in this order.
  std::vector<std::string> special = {};
  long long min_count = 2;  // a pair that is rarer is never merged
};

/// Bos and eos first, then DeepSeek's role and think tags and ChatML's two.
std::vector<std::string> default_special_tokens();
std::span<const std::string> pre_tokenizer_names();

struct Trained {
  std::string tokenizer_json, tokenizer_config_json;
  int vocab_size = 0;  // smaller than asked for when the text has too few pairs
};

/// Merges the most frequent pair of neighbours inside pieces again and again; of equally frequent
/// ones, the pair with the smaller ids. Text that is not UTF-8 is learned from piece by valid
/// piece. Cost: time about proportional to the distinct pieces and the merges. Errors:
/// InvalidArgument for a size without room for bytes and special tokens, or an unknown name.
Expected<Trained> train(std::span<const std::string> texts, const TrainOptions& options);

}  // namespace weft::trainer::tokenizer
