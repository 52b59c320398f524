#include <nlohmann/json.hpp>

#include "trainer/checkpoint/hash.h"
#include "trainer/checkpoint/strict_json.h"
#include "trainer/corpus/index.h"

namespace weft::trainer::corpus {
namespace {

using nlohmann::json;
namespace strict = trainer::checkpoint;

constexpr const char* kSchema = "weft.corpus/v1";

/// Every count under its name, for writing and reading alike.
template <class Counts, class Visit>
void each_count(Counts& c, Visit visit) {
  visit("lines", c.lines);
  visit("text_bytes", c.text_bytes);
  visit("held_bytes", c.held_bytes);
  visit("tokens", c.tokens);
  visit("held_tokens", c.held_tokens);
  visit("empty", c.empty);
  visit("bad_lines", c.bad_lines);
  visit("invalid_utf8", c.invalid_utf8);
  visit("with_nul", c.with_nul);
  visit("with_crlf", c.with_crlf);
  visit("cut", c.cut);
  visit("longest", c.longest);
  for (std::size_t b = 0; b < c.lengths.size(); ++b)
    visit(("length_" + std::to_string(b)).c_str(), c.lengths[b]);
  for (std::size_t d = 0; d < c.dialects.size(); ++d)
    visit(to_string(static_cast<Dialect>(d)), c.dialects[d]);
}

/// A path or a warning may hold bytes that JSON cannot: they travel as Latin-1 would.
std::string armoured(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && byte != '%') {
      out.push_back(c);
    } else {
      static constexpr char kHex[] = "0123456789abcdef";
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

std::string unarmoured(std::string_view text) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%' || i + 2 >= text.size()) {
      out.push_back(text[i]);
    } else {
      out.push_back(static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])));
      i += 2;
    }
  }
  return out;
}

}  // namespace

std::string Manifest::to_json() const {
  json out = {{"schema", kSchema},
              {"pattern", armoured(pattern)},
              {"spec", armoured(spec_text)},
              {"token_width", token_width},
              {"train", train},
              {"held", held},
              {"files", json::array()},
              {"warnings", json::array()},
              {"counts", json::object()}};
  for (const SourceFile& file : files)
    out["files"].push_back({{"path", armoured(file.path)},
                            {"size", file.size},
                            {"modified", std::to_string(file.modified)},
                            {"hash", file.hash}});
  for (const std::string& warning : warnings) out["warnings"].push_back(armoured(warning));
  each_count(counts, [&](const char* name, std::uint64_t value) { out["counts"][name] = value; });
  return out.dump(1) + "\n";
}

Expected<Manifest> Manifest::parse(std::string_view text) {
  WEFT_TRY_ASSIGN(const json given, strict::parse_json(text));
  Manifest out;
  WEFT_TRY_ASSIGN(const std::string schema, strict::get_string(given, "schema"));
  if (schema != kSchema) return fail(Code::Corrupt, "this is no " + std::string(kSchema));
  WEFT_TRY_ASSIGN(const std::string pattern, strict::get_string(given, "pattern"));
  WEFT_TRY_ASSIGN(const std::string spec, strict::get_string(given, "spec"));
  out.pattern = unarmoured(pattern);
  out.spec_text = unarmoured(spec);
  WEFT_TRY_ASSIGN(const std::uint64_t width, strict::get_unsigned(given, "token_width"));
  if (width != 1 && width != 2 && width != 4) return fail(Code::Corrupt, "bad token_width");
  out.token_width = static_cast<int>(width);
  WEFT_TRY_ASSIGN(out.train, strict::get_unsigned(given, "train"));
  WEFT_TRY_ASSIGN(out.held, strict::get_unsigned(given, "held"));
  WEFT_TRY_ASSIGN(const json* files, strict::get_array(given, "files"));
  for (const json& item : *files) {
    SourceFile& file = out.files.emplace_back();
    WEFT_TRY_ASSIGN(const std::string path, strict::get_string(item, "path"));
    file.path = unarmoured(path);
    WEFT_TRY_ASSIGN(file.size, strict::get_unsigned(item, "size"));
    WEFT_TRY_ASSIGN(const std::string modified, strict::get_string(item, "modified"));
    file.modified = std::strtoll(modified.c_str(), nullptr, 10);
    WEFT_TRY_ASSIGN(file.hash, strict::get_string(item, "hash"));
  }
  WEFT_TRY_ASSIGN(const json* warnings, strict::get_array(given, "warnings"));
  for (const json& item : *warnings)
    if (item.is_string()) out.warnings.push_back(unarmoured(item.get<std::string>()));
  WEFT_TRY_ASSIGN(const json* counts, strict::get_object(given, "counts"));
  Expected<void> outcome;
  each_count(out.counts, [&](const char* name, std::uint64_t& value) {
    const auto number = strict::get_unsigned(*counts, name);
    if (number)
      value = *number;
    else if (outcome)
      outcome = tl::unexpected<Error>(number.error());
  });
  WEFT_TRY(outcome);
  if (out.counts.tokens > (std::uint64_t{1} << 56) || out.train > (std::uint64_t{1} << 48) ||
      out.held > (std::uint64_t{1} << 48))
    return fail(Code::Corrupt, "counts beyond reason");
  return out;
}

/// What decides the tokens, and nothing that a copy of the same files would change.
std::string Manifest::fingerprint() const {
  std::string text = spec_text;
  if (const std::size_t line = text.find(pattern); line != std::string::npos)
    text.erase(line, pattern.size());
  for (const SourceFile& file : files) text += file.hash + "\n";
  return checkpoint::to_hex(checkpoint::hash_of(std::string_view(text)));
}

}  // namespace weft::trainer::corpus
