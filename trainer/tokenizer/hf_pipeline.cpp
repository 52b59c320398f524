#include "trainer/tokenizer/hf_pipeline.h"

#include <fmt/format.h>

namespace weft::trainer::tokenizer {
namespace {

// Source: GPT-2; what ByteLevel splits by unless use_regex is false.
constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

tl::unexpected<Error> unknown(const HfObject& component, const std::string& type,
                              std::string_view known) {
  return fail(Code::Unsupported, fmt::format("{} is '{}', which weft does not have; it has {}",
                                             component.where("type"), type, known));
}

/// The components of a Sequence under its `list`, or the component itself.
Expected<std::vector<HfObject>> flattened(const HfObject& component, const char* list) {
  WEFT_TRY_ASSIGN(const std::string type, component.text("type"));
  if (type != "Sequence") return std::vector<HfObject>{component};
  WEFT_TRY(component.only({"type", list}));
  WEFT_TRY_ASSIGN(const std::vector<HfObject> elements, component.objects(list));
  std::vector<HfObject> out;
  for (const HfObject& element : elements) {
    WEFT_TRY_ASSIGN(const std::vector<HfObject> inner, flattened(element, list));
    out.insert(out.end(), inner.begin(), inner.end());
  }
  return out;
}

Expected<Behavior> behavior_of(const HfObject& split) {
  WEFT_TRY_ASSIGN(const std::string name, split.text("behavior"));
  if (name == "Isolated") return Behavior::Isolated;
  if (name == "Removed") return Behavior::Removed;
  if (name == "MergedWithPrevious") return Behavior::MergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::MergedWithNext;
  if (name == "Contiguous") return Behavior::Contiguous;
  return fail(Code::Unsupported, split.where("behavior") + " is '" + name.substr(0, 100) +
                                     "'; it is Isolated, Removed, MergedWithPrevious, "
                                     "MergedWithNext or Contiguous");
}

/// A literal text as a pattern.
std::string as_pattern(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view(R"(\^$.|?*+()[]{}-&)").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

Expected<void> add_split(const HfObject& where, std::string_view pattern, Behavior behavior,
                         bool invert, BpeParts& parts) {
  auto compiled = Regex::compile(pattern);
  if (!compiled) return fail(Code::Unsupported, where.where() + ": " + compiled.error().message);
  parts.pre_tokenizer.add({std::move(*compiled), behavior, invert});
  return {};
}

Expected<void> read_split(const HfObject& split, BpeParts& parts) {
  WEFT_TRY(split.only({"type", "pattern", "behavior", "invert"}));
  WEFT_TRY_ASSIGN(const HfObject pattern, split.object("pattern"));
  WEFT_TRY(pattern.only({"Regex", "String"}));
  WEFT_TRY_ASSIGN(std::string text, pattern.text("Regex"));
  if (!pattern.has("Regex")) {
    WEFT_TRY_ASSIGN(const std::string given, pattern.text("String"));
    text = as_pattern(given);
  }
  WEFT_TRY_ASSIGN(const Behavior behavior, behavior_of(split));
  WEFT_TRY_ASSIGN(const bool invert, split.flag("invert", false));
  WEFT_TRY(add_split(pattern, text, behavior, invert, parts));
  parts.description.components.push_back("Split " + text + (invert ? " (inverted)" : ""));
  return {};
}

Expected<void> read_digits(const HfObject& digits, BpeParts& parts) {
  WEFT_TRY(digits.only({"type", "individual_digits"}));
  WEFT_TRY_ASSIGN(const bool each, digits.flag("individual_digits", false));
  WEFT_TRY(
      add_split(digits, "\\p{N}", each ? Behavior::Isolated : Behavior::Contiguous, false, parts));
  parts.description.components.push_back(each ? "Digits, one by one" : "Digits");
  return {};
}

Expected<void> read_byte_level(const HfObject& level, BpeParts& parts) {
  WEFT_TRY(level.only({"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  WEFT_TRY_ASSIGN(const bool prefix_space, level.flag("add_prefix_space", true));
  WEFT_TRY_ASSIGN(const bool use_regex, level.flag("use_regex", true));
  if (prefix_space) parts.pre_tokenizer.add_prefix_space();
  if (use_regex) WEFT_TRY(add_split(level, kGpt2, Behavior::Isolated, false, parts));
  parts.description.components.push_back(fmt::format(
      "ByteLevel{}{}", prefix_space ? ", prefix space" : "", use_regex ? ", GPT-2's pattern" : ""));
  return {};
}

Expected<std::vector<std::int32_t>> special_ids(const HfObject& processor, const HfObject& item,
                                                int vocab_size) {
  WEFT_TRY_ASSIGN(const HfObject special, item.object("SpecialToken"));
  WEFT_TRY_ASSIGN(const std::string name, special.text("id"));
  WEFT_TRY_ASSIGN(const HfObject table, processor.object("special_tokens"));
  WEFT_TRY_ASSIGN(const HfObject entry, table.object(name.c_str()));
  if (!entry.has("ids") || !entry.at("ids").is_array()) return entry.corrupt("has no list ids");
  std::vector<std::int32_t> ids;
  for (const nlohmann::json& id : entry.at("ids")) {
    if (!id.is_number_integer() || id < 0 || id >= vocab_size)
      return entry.corrupt("has an id that is no token");
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

Expected<void> read_template(const HfObject& processor, BpeParts& parts) {
  WEFT_TRY(processor.only({"type", "single", "pair", "special_tokens"}));
  WEFT_TRY_ASSIGN(const std::vector<HfObject> single, processor.objects("single"));
  bool seen_text = false;
  for (const HfObject& item : single) {
    WEFT_TRY(item.only({"SpecialToken", "Sequence"}));
    if (item.has("Sequence")) {
      WEFT_TRY_ASSIGN(const HfObject sequence, item.object("Sequence"));
      WEFT_TRY_ASSIGN(const std::string name, sequence.text("id"));
      if (name != "A" || seen_text) return item.corrupt("is not the one text, A");
      seen_text = true;
      continue;
    }
    WEFT_TRY_ASSIGN(const auto ids, special_ids(processor, item, parts.vocabulary.size()));
    auto& to = seen_text ? parts.suffix : parts.prefix;
    to.insert(to.end(), ids.begin(), ids.end());
  }
  if (!seen_text) return processor.corrupt("leaves the text out of its template");
  parts.description.components.push_back(
      fmt::format("TemplateProcessing, {} tokens before and {} behind", parts.prefix.size(),
                  parts.suffix.size()));
  return {};
}

}  // namespace

Expected<void> read_normalizer(const HfObject& root, BpeParts& parts) {
  if (!root.has("normalizer")) return {};
  WEFT_TRY_ASSIGN(const HfObject normalizer, root.object("normalizer"));
  WEFT_TRY_ASSIGN(const std::vector<HfObject> steps, flattened(normalizer, "normalizers"));
  for (const HfObject& step : steps) {
    WEFT_TRY_ASSIGN(const std::string type, step.text("type"));
    if (type != "NFC") return unknown(step, type, "NFC and Sequence");
    WEFT_TRY(step.only({"type"}));
    parts.compose = true;
    parts.description.components.emplace_back("NFC");
  }
  return {};
}

Expected<void> read_pre_tokenizer(const HfObject& root, BpeParts& parts) {
  WEFT_TRY_ASSIGN(const HfObject whole, root.object("pre_tokenizer"));
  WEFT_TRY_ASSIGN(const std::vector<HfObject> steps, flattened(whole, "pretokenizers"));
  bool byte_level = false;
  for (const HfObject& step : steps) {
    WEFT_TRY_ASSIGN(const std::string type, step.text("type"));
    if (byte_level) return step.unsupported("stands behind ByteLevel, which must be the last");
    if (type == "Split") {
      WEFT_TRY(read_split(step, parts));
    } else if (type == "Digits") {
      WEFT_TRY(read_digits(step, parts));
    } else if (type == "ByteLevel") {
      WEFT_TRY(read_byte_level(step, parts));
      byte_level = true;
    } else {
      return unknown(step, type, "Split, Digits, ByteLevel and Sequence");
    }
  }
  if (!byte_level)
    return whole.unsupported("has no ByteLevel: weft reads byte-level tokenizers only");
  return {};
}

Expected<void> read_post_processor(const HfObject& root, BpeParts& parts) {
  if (!root.has("post_processor")) return {};
  WEFT_TRY_ASSIGN(const HfObject whole, root.object("post_processor"));
  WEFT_TRY_ASSIGN(const std::vector<HfObject> steps, flattened(whole, "processors"));
  bool has_template = false;
  for (const HfObject& step : steps) {
    WEFT_TRY_ASSIGN(const std::string type, step.text("type"));
    if (type == "ByteLevel") continue;  // it moves offsets, which nobody here asks for
    if (type != "TemplateProcessing")
      return unknown(step, type, "ByteLevel, TemplateProcessing and Sequence");
    if (has_template) return step.unsupported("is a second template");
    has_template = true;
    WEFT_TRY(read_template(step, parts));
  }
  return {};
}

Expected<void> check_decoder(const HfObject& root) {
  WEFT_TRY_ASSIGN(const HfObject whole, root.object("decoder"));
  WEFT_TRY_ASSIGN(const std::vector<HfObject> steps, flattened(whole, "decoders"));
  for (const HfObject& step : steps) {
    WEFT_TRY_ASSIGN(const std::string type, step.text("type"));
    if (type != "ByteLevel") return unknown(step, type, "ByteLevel and Sequence");
  }
  if (steps.size() != 1) return whole.unsupported("is not one ByteLevel");
  return {};
}

}  // namespace weft::trainer::tokenizer
