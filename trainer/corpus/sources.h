// Which files a source means, and whether they are still the ones that were indexed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::trainer::corpus {

enum class FileKind { Jsonl, Text };

/// One file as it was when it was looked at.
struct SourceFile {
  std::string path;
  std::uint64_t size = 0;     // bytes on the disk
  std::int64_t modified = 0;  // nanoseconds since 1970
  std::string hash;           // XXH3-128 of those bytes, "" before they were read

  friend bool operator==(const SourceFile&, const SourceFile&) = default;
};

/// The files that `pattern` (a path or a glob) names, sorted by name.
/// Errors: NotFound when there is none; InvalidArgument for a directory or for a kind of file that
/// is not read (.zst, .parquet and the like); Io for an unreadable one. Each names the path.
Expected<std::vector<SourceFile>> find_sources(const std::string& pattern);

/// By the name, ".gz" left out: .jsonl, .json and .ndjson are JSONL, anything else is plain text.
FileKind kind_of(std::string_view path);
bool is_gzip(std::string_view path);

/// The file's present state, its hash empty. Errors: NotFound, Io.
Expected<SourceFile> look_at(const std::string& path);
/// XXH3-128 of a file's bytes. Errors: NotFound, Io.
Expected<std::string> hash_file(const std::string& path);

/// Is the file still what it was? The size is compared, and the content if the time of the last
/// change differs. Errors: InvalidArgument naming the file and what changed.
Expected<void> check_unchanged(const SourceFile& before);

}  // namespace weft::trainer::corpus
