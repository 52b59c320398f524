#include "trainer/tokenizer/train.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <queue>
#include <set>
#include <unordered_map>

#include "trainer/tokenizer/hf_object.h"
#include "trainer/tokenizer/hf_pipeline.h"
#include "trainer/tokenizer/hf_write.h"
#include "trainer/tokenizer/utf8.h"

namespace weft::trainer::tokenizer {
namespace {

using Pair = std::pair<int, int>;

struct PairHash {
  std::size_t operator()(const Pair& pair) const {
    return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(pair.first)) << 32 |
            static_cast<std::uint32_t>(pair.second)) *
               0x9e3779b97f4a7c15u >>
           16;
  }
};

/// A distinct piece of the text as tokens so far, and how often it comes.
struct Word {
  std::vector<int> ids;
  long long count = 0;
};

/// Pieces by their text: a sorted map, so that words have the same numbers everywhere.
std::map<std::string, long long> count_pieces(std::span<const std::string> texts,
                                              const PreTokenizer& pre_tokenizer) {
  std::map<std::string, long long> counts;
  std::unordered_map<std::string, long long> fast;
  for (const std::string& whole : texts) {
    std::string_view text = whole;
    while (!text.empty()) {
      const std::size_t valid = valid_prefix(text);
      pre_tokenizer.run(text.substr(0, valid),
                        [&](std::string_view piece) { ++fast[std::string(piece)]; });
      text.remove_prefix(std::min(valid + 1, text.size()));
    }
  }
  for (const auto& [piece, count] : fast) counts.emplace(piece, count);
  return counts;
}

/// The counts of all pairs, kept right while pairs are merged.
class Learner {
 public:
  explicit Learner(const std::map<std::string, long long>& pieces) {
    for (int byte = 0; byte < 256; ++byte)
      tokens_.emplace_back(1, static_cast<char>(static_cast<unsigned char>(byte)));
    for (const auto& [piece, count] : pieces) {
      Word& word = words_.emplace_back();
      word.count = count;
      for (const char c : piece) word.ids.push_back(static_cast<unsigned char>(c));
      add_pairs(static_cast<int>(words_.size()) - 1);
    }
    for (const auto& [pair, where] : pairs_) queue_.push({where.count, pair});
  }

  /// Merges the best pair into a new token. False: no pair is frequent enough.
  bool step(long long min_count, const std::set<std::string, std::less<>>& taken) {
    while (!queue_.empty()) {
      const Waiting top = queue_.top();
      queue_.pop();
      const auto found = pairs_.find(top.pair);
      if (found == pairs_.end() || found->second.count != top.count) continue;  // an old count
      if (top.count < min_count) return false;
      std::string token = text(top.pair.first) + text(top.pair.second);
      // The same bytes by another way, or a special token's: not a token of its own.
      if (taken.contains(token) || !known_.insert(token).second) {
        pairs_.erase(found);
        continue;
      }
      tokens_.push_back(std::move(token));
      merges_.push_back(top.pair);
      merge(top.pair, static_cast<int>(tokens_.size()) - 1);
      return true;
    }
    return false;
  }

  const std::vector<std::string>& tokens() const { return tokens_; }
  const std::vector<Pair>& merges() const { return merges_; }

 private:
  struct Where {
    long long count = 0;
    std::vector<int> words;  // may name a word twice, or one that has lost the pair
  };
  struct Waiting {
    long long count;
    Pair pair;
    bool operator<(const Waiting& other) const {  // the queue's top is its largest
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };

  const std::string& text(int id) const { return tokens_[static_cast<std::size_t>(id)]; }

  void add_pairs(int index) {
    const Word& word = words_[static_cast<std::size_t>(index)];
    for (std::size_t i = 0; i + 1 < word.ids.size(); ++i) {
      Where& where = pairs_[{word.ids[i], word.ids[i + 1]}];
      where.count += word.count;
      if (where.words.empty() || where.words.back() != index) where.words.push_back(index);
    }
  }

  void merge(Pair pair, int token) {
    std::vector<int> words = std::move(pairs_[pair].words);
    std::ranges::sort(words);
    words.erase(std::unique(words.begin(), words.end()), words.end());
    std::set<Pair> changed;
    for (const int index : words) {
      Word& word = words_[static_cast<std::size_t>(index)];
      const std::vector<int> before = word.ids;
      std::size_t out = 0;
      for (std::size_t i = 0; i < before.size(); ++out) {
        const bool here =
            i + 1 < before.size() && before[i] == pair.first && before[i + 1] == pair.second;
        word.ids[out] = here ? token : before[i];
        i += here ? 2 : 1;
      }
      if (out == before.size()) continue;
      word.ids.resize(out);
      for (std::size_t i = 0; i + 1 < before.size(); ++i) {
        const Pair old{before[i], before[i + 1]};
        if (const auto found = pairs_.find(old); found != pairs_.end()) {
          found->second.count -= word.count;
          changed.insert(old);
        }
      }
      add_pairs(index);
      for (std::size_t i = 0; i + 1 < out; ++i) changed.insert({word.ids[i], word.ids[i + 1]});
    }
    pairs_.erase(pair);
    for (const Pair& one : changed) {
      const auto found = pairs_.find(one);
      if (found == pairs_.end()) continue;
      if (found->second.count <= 0)
        pairs_.erase(found);
      else
        queue_.push({found->second.count, one});
    }
  }

  std::vector<std::string> tokens_;
  std::set<std::string, std::less<>> known_;
  std::vector<Pair> merges_;
  std::vector<Word> words_;
  std::unordered_map<Pair, Where, PairHash> pairs_;
  std::priority_queue<Waiting> queue_;
};

Expected<void> check(const TrainOptions& options) {
  const int least = 256 + static_cast<int>(options.special.size());
  if (options.vocab_size < least || options.vocab_size > (1 << 20))
    return fail(Code::InvalidArgument, "a vocabulary of " + std::to_string(options.vocab_size) +
                                           " tokens; it must hold " + std::to_string(least) +
                                           " (256 bytes, " +
                                           std::to_string(options.special.size()) +
                                           " special) and at most " + std::to_string(1 << 20));
  std::set<std::string> seen;
  for (const std::string& token : options.special)
    if (token.size() < 2 || token.size() > 1024 || valid_prefix(token) != token.size() ||
        !seen.insert(token).second)
      return fail(Code::InvalidArgument, "the special token '" + token +
                                             "' must be UTF-8 of 2 to 1024 bytes, and there once");
  return {};
}

}  // namespace

std::vector<std::string> default_special_tokens() {
  return {"<｜begin▁of▁sentence｜>",
          "<｜end▁of▁sentence｜>",
          "<｜▁pad▁｜>",
          "<｜User｜>",
          "<｜Assistant｜>",
          "<think>",
          "</think>",
          "<answer>",
          "</answer>",
          "<|im_start|>",
          "<|im_end|>",
          "<｜fim▁begin｜>",
          "<｜fim▁hole｜>",
          "<｜fim▁end｜>"};
}

Expected<Trained> train(std::span<const std::string> texts, const TrainOptions& options) {
  WEFT_TRY(check(options));
  WEFT_TRY_ASSIGN(const nlohmann::json pre_tokenizer, pre_tokenizer_json(options.pre_tokenizer));
  BpeParts parts;
  const nlohmann::json root = {{"pre_tokenizer", pre_tokenizer}};
  WEFT_TRY(read_pre_tokenizer(HfObject(root, options.pre_tokenizer + ": "), parts));
  Learner learner(count_pieces(texts, parts.pre_tokenizer));
  const std::set<std::string, std::less<>> taken(options.special.begin(), options.special.end());
  const auto wanted = static_cast<std::size_t>(options.vocab_size) - options.special.size();
  while (learner.tokens().size() < wanted && learner.step(options.min_count, taken)) {
  }
  Trained out;
  out.tokenizer_json =
      tokenizer_json(pre_tokenizer, learner.tokens(), learner.merges(), options.special);
  out.tokenizer_config_json = tokenizer_config_json(options.special);
  out.vocab_size = static_cast<int>(learner.tokens().size() + options.special.size());
  return out;
}

}  // namespace weft::trainer::tokenizer
