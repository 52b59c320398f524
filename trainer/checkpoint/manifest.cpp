#include "trainer/checkpoint/manifest.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "trainer/checkpoint/manifest_json.h"
#include "trainer/checkpoint/strict_json.h"

namespace weft::trainer::checkpoint {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// The text ends in a line that holds the hash of everything before it, so that a flipped byte
// anywhere in the manifest is found as well.
constexpr std::string_view kTailBegin = ",\n \"manifest_xxh128\": \"";
constexpr std::string_view kTailEnd = "\"\n}\n";
constexpr std::size_t kTailBytes = kTailBegin.size() + 32 + kTailEnd.size();

Expected<void> check_own_hash(std::string_view text) {
  const auto bad = [](const char* why) {
    return fail(Code::Corrupt, std::string("the manifest does not match its own hash: ") + why);
  };
  if (text.size() < kTailBytes) return bad("it is too short (truncated?)");
  const std::string_view tail = text.substr(text.size() - kTailBytes);
  if (tail.substr(0, kTailBegin.size()) != kTailBegin ||
      tail.substr(kTailBytes - kTailEnd.size()) != kTailEnd)
    return bad("it does not end in a hash (truncated, or rewritten by another program?)");
  const auto written = parse_hash(tail.substr(kTailBegin.size(), 32));
  if (!written || *written != hash_of(text.substr(0, text.size() - kTailBytes)))
    return bad("it was changed after it was written");
  return {};
}

/// One entry a line, so that a manifest reads well and two of them compare well.
template <class Entry>
Expected<void> append_list(std::string& text, const char* key, const std::vector<Entry>& list) {
  text += std::string(",\n \"") + key + "\": [";
  const char* separator = "\n  ";
  for (const Entry& entry : list) {
    text += separator;
    WEFT_TRY(append_json(text, entry));
    separator = ",\n  ";
  }
  text += "\n ]";
  return {};
}

Expected<Layout> layout_from_json(const json& object) {
  Layout layout;
  const auto size = [&](const char* key) -> Expected<int> {
    WEFT_TRY_ASSIGN(const std::uint64_t n, get_unsigned(object, key));
    if (n < 1 || n > 1'000'000)
      return fail(Code::Corrupt, std::string("layout: '") + key + "' must be 1 to 1000000");
    return static_cast<int>(n);
  };
  WEFT_TRY_ASSIGN(layout.pipeline, size("pipeline"));
  WEFT_TRY_ASSIGN(layout.data, size("data"));
  WEFT_TRY_ASSIGN(layout.expert, size("expert"));
  WEFT_TRY_ASSIGN(layout.schedule, get_string(object, "schedule"));
  return layout;
}

Expected<void> check_files(const Manifest& manifest) {
  for (std::size_t i = 0; i < manifest.files.size(); ++i) {
    const std::string& path = manifest.files[i].path;
    if (!is_plain_path(path) || path == kManifestFile || path == kChecksumsFile)
      return fail(Code::Corrupt, "file '" + path + "': not a path that a checkpoint may list");
    if (i > 0 && manifest.files[i - 1].path >= path)
      return fail(Code::Corrupt, "file '" + path + "': listed twice, or out of order");
  }
  return {};
}

Expected<void> check_tensors(const Manifest& manifest) {
  std::map<std::string_view, std::uint64_t> left;  // of each file, for its header
  for (const FileEntry& file : manifest.files) left[file.path] = file.bytes;
  const TensorEntry* before = nullptr;
  for (const TensorEntry& t : manifest.tensors) {
    const std::string what = t.item + " tensor '" + t.name + "'";
    WEFT_TRY(check_tensor(t));
    if (before && std::tie(before->item, before->name) >= std::tie(t.item, t.name))
      return fail(Code::Corrupt, what + ": listed twice, or out of order");
    before = &t;
    for (const Piece& piece : t.pieces) {
      const auto it = left.find(piece.file);
      if (it == left.end())
        return fail(Code::Corrupt, what + ": its file '" + piece.file + "' is not listed");
      if (piece.bytes > it->second)
        return fail(Code::Corrupt, what + ": the pieces of '" + piece.file + "' exceed its size");
      it->second -= piece.bytes;
    }
  }
  return {};
}

}  // namespace

const TensorEntry* Manifest::find(std::string_view item, std::string_view name) const {
  const auto key = std::tie(item, name);
  const auto it =
      std::lower_bound(tensors.begin(), tensors.end(), key, [](const auto& t, const auto& k) {
        return std::tuple<std::string_view, std::string_view>(t.item, t.name) < k;
      });
  return it != tensors.end() && it->item == item && it->name == name ? &*it : nullptr;
}

const FileEntry* Manifest::find_file(std::string_view path) const {
  const auto it = std::lower_bound(files.begin(), files.end(), path,
                                   [](const auto& file, auto key) { return file.path < key; });
  return it != files.end() && it->path == path ? &*it : nullptr;
}

std::uint64_t Manifest::bytes() const {
  std::uint64_t sum = 0;
  for (const FileEntry& file : files) sum += file.bytes;
  return sum;
}

Expected<void> coverage(const Manifest& manifest) {
  for (const TensorEntry& t : manifest.tensors) {
    std::vector<Box> boxes;
    for (const Piece& piece : t.pieces) boxes.push_back(piece.box);
    if (auto good = check_coverage(t.shape, boxes); !good)
      return fail_in(t.item + " tensor '" + t.name + "' of shape " + to_string(t.shape),
                     good.error());
  }
  return {};
}

Expected<void> validate(const Manifest& manifest) {
  WEFT_TRY(check_files(manifest));
  WEFT_TRY(check_tensors(manifest));
  return coverage(manifest);
}

Expected<std::string> to_json(const Manifest& manifest) {
  WEFT_TRY(validate(manifest));
  ordered_json root = {{"schema", kManifestSchema},
                       {"run", manifest.run},
                       {"attempt", manifest.attempt},
                       {"step", manifest.step},
                       {"tokens", manifest.tokens},
                       {"wall_time", manifest.wall_time},
                       {"writer", manifest.writer},
                       {"model_fingerprint", manifest.model_fingerprint},
                       {"parent", manifest.parent},
                       {"layout",
                        {{"pipeline", manifest.layout.pipeline},
                         {"data", manifest.layout.data},
                         {"expert", manifest.layout.expert},
                         {"schedule", manifest.layout.schedule}}}};
  WEFT_TRY_ASSIGN(std::string text, dump_json(root, 1));
  text.resize(text.size() - 2);  // "\n}"
  WEFT_TRY(append_list(text, "files", manifest.files));
  WEFT_TRY(append_list(text, "tensors", manifest.tensors));
  const Hash128 hash = hash_of(text);
  return text + std::string(kTailBegin) + to_hex(hash) + std::string(kTailEnd);
}

Expected<Manifest> from_json(std::string_view text) {
  WEFT_TRY(check_own_hash(text));
  Manifest manifest;
  WEFT_TRY_ASSIGN(const json root, parse_entries(text, manifest.tensors, manifest.files));
  WEFT_TRY_ASSIGN(const std::string schema, get_string(root, "schema"));
  if (schema != kManifestSchema)
    return fail(Code::Corrupt, "the schema is '" + schema + "', this version reads " +
                                   std::string(kManifestSchema));
  WEFT_TRY_ASSIGN(manifest.run, get_string(root, "run"));
  WEFT_TRY_ASSIGN(manifest.attempt, get_unsigned(root, "attempt"));
  WEFT_TRY_ASSIGN(manifest.step, get_unsigned(root, "step"));
  WEFT_TRY_ASSIGN(manifest.tokens, get_unsigned(root, "tokens"));
  WEFT_TRY_ASSIGN(manifest.wall_time, get_string(root, "wall_time"));
  WEFT_TRY_ASSIGN(manifest.writer, get_string(root, "writer"));
  WEFT_TRY_ASSIGN(manifest.model_fingerprint, get_string(root, "model_fingerprint"));
  WEFT_TRY_ASSIGN(manifest.parent, get_string(root, "parent"));
  WEFT_TRY_ASSIGN(const json* const layout, get_object(root, "layout"));
  WEFT_TRY_ASSIGN(manifest.layout, layout_from_json(*layout));
  WEFT_TRY(validate(manifest));
  return manifest;
}

std::string format_checksums(const Manifest& manifest, std::string_view manifest_text) {
  std::string text = to_hex(hash_of(manifest_text)) + "  " + kManifestFile + "\n";
  for (const FileEntry& file : manifest.files) text += to_hex(file.hash) + "  " + file.path + "\n";
  return text;
}

bool is_plain_path(std::string_view path) {
  bool at_start = true;
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-' || c == '.';
    if (c == '/' ? at_start : !plain || (at_start && c == '.')) return false;
    at_start = c == '/';
  }
  return !path.empty() && !at_start && path.size() <= 1000;
}

bool is_item_name(std::string_view item) {
  const bool plain = std::all_of(item.begin(), item.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
  return plain && !item.empty() && item.size() <= 64 && item != "state";
}

}  // namespace weft::trainer::checkpoint
