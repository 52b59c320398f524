#include "trainer/tokenizer/added_tokens.h"

#include <algorithm>

#include "trainer/tokenizer/utf8.h"

namespace weft::trainer::tokenizer {

AddedTokens::AddedTokens(std::span<const AddedToken> tokens)
    : tokens_(tokens.begin(), tokens.end()), nodes_(1) {
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    std::size_t node = 0;
    for (const char c : tokens_[t].content) {
      const auto byte = static_cast<unsigned char>(c);
      const auto& next = nodes_[node].next;
      const auto found =
          std::ranges::find(next, byte, &std::pair<unsigned char, std::int32_t>::first);
      if (found != next.end()) {
        node = static_cast<std::size_t>(found->second);
        continue;
      }
      nodes_[node].next.emplace_back(byte, static_cast<std::int32_t>(nodes_.size()));
      node = nodes_.size();
      nodes_.emplace_back();
    }
    nodes_[node].token = static_cast<std::int32_t>(t);
    begins_[static_cast<unsigned char>(tokens_[t].content.front())] = true;
  }
}

AddedTokens::Match AddedTokens::longest_at(std::string_view text) const {
  Match best;
  std::size_t node = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto& next = nodes_[node].next;
    const auto found = std::ranges::find(next, static_cast<unsigned char>(text[i]),
                                         &std::pair<unsigned char, std::int32_t>::first);
    if (found == next.end()) break;
    node = static_cast<std::size_t>(found->second);
    if (nodes_[node].token >= 0) best = {nodes_[node].token, i + 1};
  }
  return best;
}

void AddedTokens::cut(const Fragment& fragment, std::vector<Fragment>& out) const {
  const std::string_view text = fragment.text;
  if (fragment.plain || fragment.token >= 0 || empty()) {
    out.push_back(fragment);
    return;
  }
  std::size_t done = 0;
  for (std::size_t i = 0; i < text.size();) {
    if (!begins_[static_cast<unsigned char>(text[i])]) {
      ++i;
      continue;
    }
    const Match match = longest_at(text.substr(i));
    if (match.token < 0) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(match.token)];
    std::size_t begin = i, end = i + match.length;
    i = end;
    if (token.single_word &&
        (ends_with_word(text.substr(0, begin)) || begins_with_word(text.substr(end))))
      continue;
    if (token.lstrip) begin -= trailing_space(text.substr(done, begin - done));
    if (token.rstrip) end += leading_space(text.substr(end));
    if (begin > done) out.push_back({text.substr(done, begin - done), false, -1});
    out.push_back({text.substr(begin, end - begin), false, token.id});
    i = done = end;
  }
  if (done < text.size()) out.push_back({text.substr(done), false, -1});
}

}  // namespace weft::trainer::tokenizer
