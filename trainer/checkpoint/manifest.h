// MANIFEST.json: the file that makes a checkpoint exist. It names every tensor's pieces and every
// file with its size and hash, proves that nothing is missing, and carries its own hash.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "trainer/checkpoint/box.h"
#include "trainer/checkpoint/hash.h"
#include "trainer/checkpoint/safetensors.h"

namespace weft::trainer::checkpoint {

inline constexpr std::string_view kManifestSchema = "weft.checkpoint/v1";
inline constexpr const char* kManifestFile = "MANIFEST.json";
inline constexpr const char* kChecksumsFile = "CHECKSUMS.xxh128";
inline constexpr const char* kStateFile = "state/trainer.json";
inline constexpr std::string_view kShardSuffix = ".safetensors";
inline constexpr std::uint64_t kManifestBytesMax = std::uint64_t{1} << 30;

struct Piece {
  std::string file;  // "model/shard-00001-model-00001-of-00001.safetensors"
  Box box;           // in the tensor's global shape
  std::uint64_t bytes = 0;
  Hash128 hash;
  friend bool operator==(const Piece&, const Piece&) = default;
};

struct TensorEntry {
  std::string item;  // "model", "optim", "ref"
  std::string name;
  Shape shape;  // global
  Dtype dtype = Dtype::F32;
  std::vector<Piece> pieces;
  friend bool operator==(const TensorEntry&, const TensorEntry&) = default;
};

struct FileEntry {
  std::string path;  // relative to the checkpoint, '/' between folders
  std::uint64_t bytes = 0;
  Hash128 hash;
  friend bool operator==(const FileEntry&, const FileEntry&) = default;
};

/// How the run was cut when it wrote: for people, and for a fast path when it is cut so again.
struct Layout {
  int pipeline = 1;
  int data = 1;
  int expert = 1;
  std::string schedule;
  friend bool operator==(const Layout&, const Layout&) = default;
};

/// Where a checkpoint comes from.
struct Provenance {
  std::string run;
  std::uint64_t attempt = 0;
  std::uint64_t step = 0;
  std::uint64_t tokens = 0;
  std::string wall_time;  // RFC 3339: base's format_time
  std::string writer;     // "weft 0.1.0"
  std::string model_fingerprint;
  std::string parent;  // directory name of the checkpoint that the run resumed from, or ""
  Layout layout;
  friend bool operator==(const Provenance&, const Provenance&) = default;
};

struct Manifest : Provenance {
  std::vector<TensorEntry> tensors;  // by item, then name
  std::vector<FileEntry> files;      // by path; shards and the trainer's state
  friend bool operator==(const Manifest&, const Manifest&) = default;

  const TensorEntry* find(std::string_view item, std::string_view name) const;
  const FileEntry* find_file(std::string_view path) const;
  std::uint64_t bytes() const;  // of all files
};

/// Every tensor's boxes tile its global shape exactly once.
/// Errors: Corrupt, naming item, tensor and the hole or overlap.
Expected<void> coverage(const Manifest& manifest);

/// coverage, and: order, names, paths that stay inside the checkpoint, sizes that fit shapes,
/// pieces in files that are listed. What to_json writes and from_json returns has passed it.
Expected<void> validate(const Manifest& manifest);

/// Errors: as validate; InvalidArgument for text that is not UTF-8.
Expected<std::string> to_json(const Manifest& manifest);
/// Never trusts `text`: schema, own hash, validate. Errors: Corrupt.
Expected<Manifest> from_json(std::string_view text);

/// CHECKSUMS.xxh128 for a manifest and its own text: `xxhsum -c` format (hash, two spaces, path).
std::string format_checksums(const Manifest& manifest, std::string_view manifest_text);

/// A relative path of plain names ([A-Za-z0-9._-], no leading '.'): nothing can escape with it.
bool is_plain_path(std::string_view path);
/// A folder name for an item: [a-z0-9_]+ and not "state".
bool is_item_name(std::string_view item);

}  // namespace weft::trainer::checkpoint
