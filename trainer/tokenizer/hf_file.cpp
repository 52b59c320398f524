#include "trainer/tokenizer/hf_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace weft::trainer::tokenizer {
namespace {

using nlohmann::json;

constexpr std::size_t kDepthMax = 24;
constexpr std::size_t kMembersMax = 1 << 20;  // of one array or object outside the two large ones

/// Called by the parser; every method returns false to stop it there.
class Reader {
 public:
  explicit Reader(HfFile& file) : file_(file) {}
  std::string error;

  bool null() { return value(json(nullptr)); }
  bool boolean(bool v) { return value(json(v)); }
  bool number_float(double v, const std::string&) { return value(json(v)); }
  bool binary(std::vector<std::uint8_t>&) { return stop("binary values have no place here"); }
  bool number_integer(std::int64_t v) {
    return place_ == Place::Vocabulary ? token(v) : value(json(v));
  }
  bool number_unsigned(std::uint64_t v) {
    if (place_ != Place::Vocabulary) return value(json(v));
    return token(v > INT32_MAX ? std::int64_t{INT32_MAX} + 1 : static_cast<std::int64_t>(v));
  }
  bool string(std::string& v) {
    if (place_ == Place::Merges) return whole_merge(v);
    if (place_ == Place::Pair) return half_merge(v);
    return value(json(std::move(v)));
  }

  bool key(std::string& name) {
    if (place_ == Place::Vocabulary) return remember(name, token_);
    if (stack_.back()->contains(name))
      return stop("the key '" + name.substr(0, 200) + "' appears twice");
    if (stack_.back()->size() >= kMembersMax) return stop("an object has too many members");
    key_ = std::move(name);
    return true;
  }

  bool start_object(std::size_t) {
    if (place_ == Place::Rest && in_model("vocab")) {
      if (file_.has_vocabulary) return stop("the key 'vocab' appears twice");
      place_ = Place::Vocabulary;
      return file_.has_vocabulary = true;
    }
    return place_ == Place::Rest ? open(json::object()) : value(json(nullptr));
  }
  bool end_object() {
    if (place_ == Place::Vocabulary) {
      place_ = Place::Rest;
      return true;
    }
    return close();
  }
  bool start_array(std::size_t) {
    if (place_ == Place::Merges) {
      place_ = Place::Pair;
      halves_ = 0;
      return true;
    }
    if (place_ == Place::Rest && in_model("merges")) {
      if (file_.has_merges) return stop("the key 'merges' appears twice");
      place_ = Place::Merges;
      return file_.has_merges = true;
    }
    return place_ == Place::Rest ? open(json::array()) : value(json(nullptr));
  }
  bool end_array() {
    if (place_ == Place::Pair) {
      if (halves_ != 2) return stop(merge_name() + " is not a pair of two tokens");
      place_ = Place::Merges;
      return true;
    }
    if (place_ == Place::Merges) {
      place_ = Place::Rest;
      return true;
    }
    return close();
  }

  bool parse_error(std::size_t position, const std::string&, const json::exception& exception) {
    return stop("not valid JSON at byte " + std::to_string(position) + ": " + exception.what());
  }

 private:
  enum class Place { Rest, Vocabulary, Merges, Pair };

  bool stop(std::string why) {
    error = std::move(why);
    return false;
  }
  std::string merge_name() const {
    const std::size_t index = file_.merges.size() - (place_ == Place::Pair && halves_ > 0 ? 1 : 0);
    return "model.merges[" + std::to_string(index) + "]";
  }
  bool in_model(std::string_view member) const {
    return stack_.size() == 2 && model_ == stack_.back() && key_ == member;
  }

  bool remember(std::string_view text, HfFile::Slice& slice) {
    if (text.empty() || text.size() > kTokenBytesMax)
      return stop("a token has " + std::to_string(text.size()) + " bytes; 1 to " +
                  std::to_string(kTokenBytesMax) + " are read");
    slice = {static_cast<std::uint32_t>(file_.arena.size()),
             static_cast<std::uint32_t>(text.size())};
    file_.arena += text;
    return true;
  }

  bool token(std::int64_t id) {
    if (file_.vocabulary.size() >= kTokensMax)
      return stop("model.vocab has more than " + std::to_string(kTokensMax) + " tokens");
    file_.vocabulary.push_back({token_, id});
    return true;
  }

  bool whole_merge(std::string_view text) {
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos)
      return stop(merge_name() + " is '" + std::string(text.substr(0, 100)) +
                  "', not two tokens with a space between them");
    HfFile::Merge merge;
    return remember(text.substr(0, space), merge.left) &&
           remember(text.substr(space + 1), merge.right) && add(merge);
  }

  bool half_merge(std::string_view text) {
    if (halves_ == 2) return stop(merge_name() + " has more than two tokens");
    if (halves_++ == 0) {
      HfFile::Merge merge;
      return remember(text, merge.left) && add(merge);
    }
    return remember(text, file_.merges.back().right);
  }

  bool add(HfFile::Merge merge) {
    if (file_.merges.size() >= kTokensMax)
      return stop("model.merges has more than " + std::to_string(kTokensMax) + " rules");
    file_.merges.push_back(merge);
    return true;
  }

  bool value(json v) {
    if (place_ == Place::Vocabulary)
      return stop("model.vocab['" + std::string(file_.text(token_).substr(0, 100)) +
                  "'] is no whole number");
    if (place_ != Place::Rest) return stop(merge_name() + " is no text and no pair of texts");
    return put(std::move(v)) != nullptr;
  }

  bool open(json v) {
    if (stack_.size() >= kDepthMax)
      return stop("nested more than " + std::to_string(kDepthMax) + " deep");
    json* const placed = put(std::move(v));
    if (placed == nullptr) return false;
    if (stack_.size() == 1 && key_ == "model") model_ = placed;
    stack_.push_back(placed);
    return true;
  }

  bool close() {
    stack_.pop_back();
    return true;
  }

  json* put(json v) {
    if (stack_.empty()) {
      *file_.rest = std::move(v);
      return file_.rest.get();
    }
    json& parent = *stack_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(v));
    if (parent.size() >= kMembersMax) {
      stop("an array has too many elements");
      return nullptr;
    }
    parent.push_back(std::move(v));
    return &parent.back();
  }

  HfFile& file_;
  Place place_ = Place::Rest;
  std::vector<json*> stack_;  // parents of the value being read; stable: only the last one grows
  json* model_ = nullptr;
  std::string key_;
  HfFile::Slice token_;
  int halves_ = 0;
};

}  // namespace

HfFile::HfFile() : rest(std::make_unique<json>()) {}
HfFile::HfFile(HfFile&&) noexcept = default;
HfFile::~HfFile() = default;

Expected<HfFile> read_hf_file(std::string_view text, std::string_view name) {
  HfFile file;
  file.name = name;
  if (text.size() > kFileBytesMax)
    return fail(Code::Corrupt, file.name + " has " + std::to_string(text.size()) +
                                   " bytes; a tokenizer has at most " +
                                   std::to_string(kFileBytesMax));
  // Two thirds of such a file are tokens and merges.
  file.arena.reserve(text.size() / 2);
  Reader reader(file);
  if (!json::sax_parse(text, &reader)) return fail(Code::Corrupt, file.name + ": " + reader.error);
  return file;
}

}  // namespace weft::trainer::tokenizer
