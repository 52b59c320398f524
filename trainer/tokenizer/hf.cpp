#include "trainer/tokenizer/hf.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "base/files.h"
#include "trainer/tokenizer/byte_alphabet.h"
#include "trainer/tokenizer/hf_file.h"
#include "trainer/tokenizer/hf_object.h"
#include "trainer/tokenizer/hf_pipeline.h"

namespace weft::trainer::tokenizer {
namespace {

using nlohmann::json;

// What models without a tokenizer_config.json call their ends, the most specific first.
constexpr std::array<std::string_view, 4> kBosNames = {"<｜begin▁of▁sentence｜>",
                                                       "<|begin_of_text|>", "<s>", "<bos>"};
constexpr std::array<std::string_view, 6> kEosNames = {
    "<｜end▁of▁sentence｜>", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>", "</s>", "<eos>"};

std::string shortened(std::string_view text) {
  return std::string(text.substr(0, 100)) + (text.size() > 100 ? "…" : "");
}

/// Reads the two large members and the added tokens, which together are the ids.
class Ids {
 public:
  Ids(const HfFile& file, BpeParts& parts) : file_(file), parts_(parts) {}

  Expected<void> read(const HfObject& root) {
    WEFT_TRY(index_vocabulary());
    WEFT_TRY(read_added(root));
    WEFT_TRY(number_all());
    WEFT_TRY(read_bytes());
    return read_merges();
  }

  /// The id of a token as the file spells it, or -1.
  std::int32_t find(std::string_view spelling) const {
    if (const std::int32_t entry = spelled_.find(spelling); entry >= 0)
      return static_cast<std::int32_t>(file_.vocabulary[static_cast<std::size_t>(entry)].id);
    for (const AddedToken& token : parts_.added)
      if (token.content == spelling) return token.id;
    return -1;
  }

 private:
  tl::unexpected<Error> corrupt(const std::string& what) const {
    return fail(Code::Corrupt, file_.name + ": " + what);
  }

  Expected<void> index_vocabulary() {
    for (const HfFile::Entry& entry : file_.vocabulary) spelled_.add(file_.text(entry.token), true);
    spelled_.build_index();
    for (std::size_t i = 0; i < file_.vocabulary.size(); ++i) {
      const HfFile::Entry& entry = file_.vocabulary[i];
      const std::string_view token = file_.text(entry.token);
      const std::string name = "model.vocab['" + shortened(token) + "']";
      if (spelled_.find(token) != static_cast<std::int32_t>(i))
        return corrupt(name + " is there twice");
      if (entry.id < 0 || entry.id >= static_cast<std::int64_t>(kTokensMax))
        return corrupt(fmt::format("{} is {}; ids are 0 to {}", name, entry.id, kTokensMax - 1));
      const auto id = static_cast<std::size_t>(entry.id);
      if (id >= entry_of_.size()) entry_of_.resize(id + 1, -1);
      if (entry_of_[id] >= 0)
        return corrupt(
            fmt::format("{} has the id {} of '{}'", name, id, shortened(entry_text(id))));
      entry_of_[id] = static_cast<std::int32_t>(i);
    }
    return {};
  }

  std::string_view entry_text(std::size_t id) const {
    return file_.text(file_.vocabulary[static_cast<std::size_t>(entry_of_[id])].token);
  }

  Expected<void> read_added(const HfObject& root) {
    WEFT_TRY_ASSIGN(const std::vector<HfObject> objects, root.objects("added_tokens"));
    std::set<std::string, std::less<>> contents;
    for (const HfObject& object : objects) {
      WEFT_TRY(object.only(
          {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
      AddedToken token;
      WEFT_TRY_ASSIGN(const std::int64_t id, object.whole("id"));
      WEFT_TRY_ASSIGN(token.content, object.text("content"));
      WEFT_TRY_ASSIGN(token.special, object.flag("special", false));
      WEFT_TRY_ASSIGN(token.normalized, object.flag("normalized", !token.special));
      WEFT_TRY_ASSIGN(token.lstrip, object.flag("lstrip", false));
      WEFT_TRY_ASSIGN(token.rstrip, object.flag("rstrip", false));
      WEFT_TRY_ASSIGN(token.single_word, object.flag("single_word", false));
      if (token.content.empty() || token.content.size() > kTokenBytesMax)
        return object.corrupt("has no content, or too long a one");
      if (id < 0 || id >= static_cast<std::int64_t>(kTokensMax))
        return object.corrupt(fmt::format("has the id {}; ids are 0 to {}", id, kTokensMax - 1));
      token.id = static_cast<std::int32_t>(id);
      if (!contents.insert(token.content).second)
        return object.corrupt("repeats the token '" + shortened(token.content) + "'");
      WEFT_TRY(place(object, token));
      parts_.added.push_back(std::move(token));
    }
    return {};
  }

  /// An added token may be one of the vocabulary's, but then under the same id.
  Expected<void> place(const HfObject& object, const AddedToken& token) {
    const auto id = static_cast<std::size_t>(token.id);
    if (const std::int32_t entry = spelled_.find(token.content); entry >= 0) {
      const std::int64_t known = file_.vocabulary[static_cast<std::size_t>(entry)].id;
      if (known != token.id)
        return object.corrupt(fmt::format("gives '{}' the id {}, and model.vocab gives it {}",
                                          shortened(token.content), token.id, known));
    } else if (id < entry_of_.size() && entry_of_[id] >= 0) {
      return object.corrupt(fmt::format("gives '{}' the id {} of '{}' in model.vocab",
                                        shortened(token.content), token.id,
                                        shortened(entry_text(id))));
    }
    if (id >= added_of_.size()) added_of_.resize(id + 1, -1);
    if (added_of_[id] >= 0)
      return object.corrupt(fmt::format("gives '{}' the id {} of another added token",
                                        shortened(token.content), token.id));
    added_of_[id] = static_cast<std::int32_t>(parts_.added.size());
    return {};
  }

  /// Every id below the largest is somebody's.
  Expected<void> number_all() {
    const std::size_t count = std::max(entry_of_.size(), added_of_.size());
    entry_of_.resize(count, -1);
    added_of_.resize(count, -1);
    std::string bytes;
    for (std::size_t id = 0; id < count; ++id) {
      if (added_of_[id] >= 0) {
        parts_.vocabulary.add(parts_.added[static_cast<std::size_t>(added_of_[id])].content, false);
      } else if (entry_of_[id] >= 0) {
        bytes.clear();
        const bool spelled = unspell(entry_text(id), bytes);
        parts_.vocabulary.add(spelled ? std::string_view(bytes) : entry_text(id), spelled);
      } else {
        return corrupt(fmt::format(
            "no token has the id {}, but there are ids up to {}: ids must have no holes", id,
            count - 1));
      }
    }
    parts_.vocabulary.build_index();
    return {};
  }

  Expected<void> read_bytes() {
    for (int byte = 0; byte < 256; ++byte) {
      const char c = static_cast<char>(static_cast<unsigned char>(byte));
      const std::string spelling = spell(std::string_view(&c, 1));
      const std::int32_t id = find(spelling);
      parts_.byte_id[static_cast<std::size_t>(byte)] = id;
      if (id < 0 && !parts_.unknown)
        return fail(Code::Unsupported,
                    fmt::format("{}: model.vocab has no token for the byte 0x{:02x}, spelled '{}', "
                                "and there is no unk_token: such text would be lost",
                                file_.name, byte, spelling));
    }
    return {};
  }

  Expected<void> read_merges() {
    parts_.merges = Merges(file_.merges.size());
    for (std::size_t i = 0; i < file_.merges.size(); ++i) {
      const HfFile::Merge& merge = file_.merges[i];
      // The two halves stand side by side in the arena.
      const HfFile::Slice whole{merge.left.begin, merge.left.length + merge.right.length};
      std::array<std::int32_t, 3> ids{};
      const std::array slices = {merge.left, merge.right, whole};
      for (std::size_t k = 0; k < 3; ++k) {
        ids[k] = find(file_.text(slices[k]));
        if (ids[k] < 0)
          return corrupt(
              fmt::format("model.merges[{}], '{}' with '{}', names '{}', which is no token", i,
                          shortened(file_.text(merge.left)), shortened(file_.text(merge.right)),
                          shortened(file_.text(slices[k]))));
      }
      if (!parts_.merges.add(ids[0], ids[1], ids[2]))
        return corrupt(fmt::format("model.merges[{}], '{}' with '{}', is there twice", i,
                                   shortened(file_.text(merge.left)),
                                   shortened(file_.text(merge.right))));
    }
    return {};
  }

  const HfFile& file_;
  BpeParts& parts_;
  Vocabulary spelled_;  // the vocabulary's entries as the file spells them, numbered as in the file
  std::vector<std::int32_t> entry_of_, added_of_;  // by id; -1: none
};

Expected<void> check_model(const HfObject& model, const HfFile& file) {
  WEFT_TRY_ASSIGN(const std::string type, model.text("type", "BPE"));
  if (type != "BPE")
    return fail(Code::Unsupported,
                model.where("type") + " is '" + shortened(type) + "'; weft reads BPE");
  WEFT_TRY(model.only({"type", "dropout", "unk_token", "continuing_subword_prefix",
                       "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges"}));
  if (!file.has_vocabulary) return model.corrupt("has no vocab");
  if (!file.has_merges) return model.corrupt("has no merges: without them no two bytes ever join");
  if (file.vocabulary.empty()) return model.corrupt("has an empty vocab");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    WEFT_TRY_ASSIGN(const std::string text, model.text(affix));
    if (!text.empty())
      return fail(Code::Unsupported, model.where(affix) + " is not empty; byte-level BPE has none");
  }
  for (const char* flag : {"byte_fallback", "fuse_unk"}) {
    WEFT_TRY_ASSIGN(const bool set, model.flag(flag, false));
    if (set) return fail(Code::Unsupported, model.where(flag) + " is true; weft reads false only");
  }
  if (model.has("dropout") && !(model.at("dropout").is_number() && model.at("dropout") == 0))
    return fail(Code::Unsupported,
                model.where("dropout") + " is set; weft encodes the same text the same way");
  return {};
}

/// tokenizer_config.json writes a token as its text or as an object with it.
std::string token_text(const json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_object() && found->contains("content") && (*found)["content"].is_string())
    return (*found)["content"].get<std::string>();
  return "";
}

Expected<void> read_ends(std::string_view text, std::string_view name, const Ids& ids,
                         BpeParts& parts) {
  const json config = text.empty() ? json::object() : json::parse(text, nullptr, false);
  if (!config.is_object()) return fail(Code::Corrupt, std::string(name) + " is not a JSON object");
  const auto end = [&](const char* key, std::span<const std::string_view> names,
                       std::optional<std::int32_t>& out) -> Expected<void> {
    const std::string content = token_text(config, key);
    if (!content.empty()) {
      const std::int32_t id = ids.find(content);
      if (id < 0)
        return fail(Code::Corrupt, fmt::format("{}: {} is '{}', which is no token", name, key,
                                               shortened(content)));
      out = id;
    } else if (!config.contains(key)) {
      for (const std::string_view known : names)
        if (const std::int32_t id = ids.find(known); id >= 0 && !out) out = id;
    }
    return {};
  };
  WEFT_TRY(end("bos_token", kBosNames, parts.bos));
  WEFT_TRY(end("eos_token", kEosNames, parts.eos));
  const auto wants = [&](const char* key) {
    const auto found = config.find(key);
    return found != config.end() && found->is_boolean() && found->get<bool>();
  };
  if (wants("add_bos_token") && parts.bos && parts.prefix.empty()) parts.prefix = {*parts.bos};
  if (wants("add_eos_token") && parts.eos && parts.suffix.empty()) parts.suffix = {*parts.eos};
  return {};
}

}  // namespace

Expected<Tokenizer> parse_tokenizer(std::string_view text, std::string_view name,
                                    std::string_view config, std::string_view config_name) {
  WEFT_TRY_ASSIGN(const HfFile file, read_hf_file(text, name));
  if (!file.rest->is_object()) return fail(Code::Corrupt, file.name + " is not a JSON object");
  const HfObject root(*file.rest, file.name + ": ");
  WEFT_TRY(root.only({"version", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
                      "decoder", "model"}));  // truncation and padding: null or refused
  WEFT_TRY_ASSIGN(const HfObject model, root.object("model"));
  WEFT_TRY(check_model(model, file));
  BpeParts parts;
  parts.description.source = name;
  WEFT_TRY_ASSIGN(parts.ignore_merges, model.flag("ignore_merges", false));
  WEFT_TRY_ASSIGN(const std::string unknown, model.text("unk_token"));
  if (!unknown.empty()) parts.unknown = 0;  // until the ids are known
  Ids ids(file, parts);
  WEFT_TRY(ids.read(root));
  if (!unknown.empty()) {
    parts.unknown = ids.find(unknown);
    if (*parts.unknown < 0)
      return fail(Code::Corrupt,
                  model.where("unk_token") + " is '" + shortened(unknown) + "', which is no token");
  }
  WEFT_TRY(read_normalizer(root, parts));
  WEFT_TRY(read_pre_tokenizer(root, parts));
  WEFT_TRY(read_post_processor(root, parts));
  WEFT_TRY(check_decoder(root));
  WEFT_TRY(read_ends(config, config_name, ids, parts));
  return Tokenizer(make_bpe(std::move(parts)));
}

Expected<Tokenizer> Tokenizer::load(const std::filesystem::path& path) {
  std::error_code ignored;
  const bool directory = std::filesystem::is_directory(path, ignored);
  const std::filesystem::path file = directory ? path / "tokenizer.json" : path;
  WEFT_TRY_ASSIGN(const std::string text, read_file(file, kFileBytesMax));
  const std::filesystem::path config = file.parent_path() / "tokenizer_config.json";
  std::string config_text;
  if (std::filesystem::exists(config, ignored)) {
    WEFT_TRY_ASSIGN(config_text, read_file(config, std::size_t{16} << 20));
  }
  return parse_tokenizer(text, file.string(), config_text, config.string());
}

}  // namespace weft::trainer::tokenizer
