#include "trainer/tokenizer/bpe.h"

#include <algorithm>
#include <deque>
#include <map>

#include "trainer/tokenizer/utf8.h"

namespace weft::trainer::tokenizer {
namespace {

std::vector<AddedToken> chosen(const std::vector<AddedToken>& all, bool normalized, bool compose) {
  std::vector<AddedToken> out;
  for (const AddedToken& token : all) {
    if (token.normalized != normalized) continue;
    out.push_back(token);
    if (normalized && compose) out.back().content = tokenizer::compose(token.content);
  }
  return out;
}

/// NFC of what is valid; other bytes stay as they are.
std::string compose_valid(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t valid = valid_prefix(text);
    out += compose(text.substr(0, valid));
    text.remove_prefix(valid);
    if (!text.empty()) out += text.front();
    text.remove_prefix(text.empty() ? 0 : 1);
  }
  return out;
}

class Bpe final : public Model {
 public:
  explicit Bpe(BpeParts parts)
      : parts_(std::move(parts)),
        raw_(chosen(parts_.added, false, false)),
        normalized_(chosen(parts_.added, true, parts_.compose)) {
    for (const AddedToken& token : parts_.added) added_.emplace(token.content, token.id);
    find_whole_tokens();
  }

  /// Added tokens are cut out first, those of raw text before those of normalised text; what is
  /// left is joined again where only a border of parts divided it, and merged.
  void encode(std::span<const Part> parts, std::vector<std::int32_t>& ids) const override {
    std::vector<Fragment> found, cut;
    for (const Part& part : parts) raw_.cut({part.text, part.trust == Trust::Plain, -1}, found);
    std::deque<std::string> composed;
    if (parts_.compose)
      for (Fragment& fragment : found)
        if (fragment.token < 0) fragment.text = composed.emplace_back(compose_valid(fragment.text));
    for (const Fragment& fragment : found) normalized_.cut(fragment, cut);
    for (std::size_t i = 0; i < cut.size();) {
      if (cut[i].token >= 0) {
        ids.push_back(cut[i++].token);
        continue;
      }
      std::size_t end = i + 1;
      while (end < cut.size() && cut[end].token < 0) ++end;
      if (end == i + 1) {
        encode_text(cut[i].text, ids);
      } else {
        std::string joined;
        for (std::size_t k = i; k < end; ++k) joined += cut[k].text;
        encode_text(joined, ids);
      }
      i = end;
    }
  }

  void decode(std::int32_t id, std::string& bytes) const override {
    bytes += parts_.vocabulary.bytes(id);
  }
  int vocab_size() const override { return parts_.vocabulary.size(); }
  std::optional<std::int32_t> bos() const override { return parts_.bos; }
  std::optional<std::int32_t> eos() const override { return parts_.eos; }
  std::optional<std::int32_t> added(std::string_view content) const override {
    const auto found = added_.find(content);
    if (found == added_.end()) return {};
    return found->second;
  }
  std::span<const std::int32_t> prefix() const override { return parts_.prefix; }
  std::span<const std::int32_t> suffix() const override { return parts_.suffix; }

  Description describe() const override {
    Description out = parts_.description;
    out.kind = "bpe";
    out.vocab_size = vocab_size();
    out.num_merges = parts_.merges.size();
    for (const AddedToken& token : parts_.added)
      out.added.push_back({token.id, token.content, token.special});
    std::ranges::sort(out.added, {}, &Description::Added::id);
    return out;
  }

 private:
  /// Valid runs go through the pre-tokenizer; each run of broken bytes is a piece of its own.
  void encode_text(std::string_view text, std::vector<std::int32_t>& ids) const {
    const PreTokenizer::Sink sink = [&](std::string_view piece) { encode_piece(piece, ids); };
    while (!text.empty()) {
      const std::size_t valid = valid_prefix(text);
      parts_.pre_tokenizer.run(text.substr(0, valid), sink);
      std::size_t broken = valid;
      while (broken < text.size() && first_character(text.substr(broken)).length == 0) ++broken;
      if (broken > valid) encode_piece(text.substr(valid, broken - valid), ids);
      text.remove_prefix(broken);
    }
  }

  void encode_piece(std::string_view piece, std::vector<std::int32_t>& ids) const {
    const std::int32_t whole = parts_.vocabulary.find(piece);
    if (whole >= 0 && whole_[static_cast<std::size_t>(whole)]) {
      ids.push_back(whole);
      return;
    }
    thread_local std::vector<std::int32_t> symbols;
    merge(piece, symbols);
    ids.insert(ids.end(), symbols.begin(), symbols.end());
  }

  void merge(std::string_view piece, std::vector<std::int32_t>& symbols) const {
    symbols.clear();
    for (const char byte : piece) {
      const std::int32_t id = parts_.byte_id[static_cast<unsigned char>(byte)];
      if (id >= 0)
        symbols.push_back(id);
      else if (parts_.unknown)
        symbols.push_back(*parts_.unknown);
    }
    parts_.merges.apply(symbols);
  }

  /// Which pieces need no merging: nearly every token is what its own bytes merge to. Known ahead,
  /// it spares most of the work, and a cache that threads would share.
  void find_whole_tokens() {
    std::vector<std::int32_t> symbols;
    whole_.resize(static_cast<std::size_t>(vocab_size()));
    for (std::int32_t id = 0; id < vocab_size(); ++id) {
      const std::string_view bytes = parts_.vocabulary.bytes(id);
      if (parts_.vocabulary.find(bytes) != id) continue;
      if (!parts_.ignore_merges) merge(bytes, symbols);
      whole_[static_cast<std::size_t>(id)] =
          parts_.ignore_merges || (symbols.size() == 1 && symbols.front() == id);
    }
  }

  BpeParts parts_;
  AddedTokens raw_, normalized_;
  std::map<std::string, std::int32_t, std::less<>> added_;
  std::vector<bool> whole_;
};

}  // namespace

std::shared_ptr<const Model> make_bpe(BpeParts parts) {
  return std::make_shared<Bpe>(std::move(parts));
}

}  // namespace weft::trainer::tokenizer
