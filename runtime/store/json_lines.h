// A file of JSON objects, one a line, that survives the death of its writer: a line counts when its
// newline is there.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "base/expected.h"

namespace weft::runtime {

/// Appends whole lines; each is in the kernel's hands when append returns. Threads: one.
class JsonLines {
 public:
  /// Opens or creates; a torn last line is cut off. Errors: Io.
  static Expected<JsonLines> open(const std::filesystem::path& path);
  JsonLines(JsonLines&& other) noexcept;
  JsonLines& operator=(JsonLines&& other) noexcept;
  ~JsonLines();

  /// All or nothing: after an error the file ends where it ended before. Errors: Io.
  Expected<void> append(const nlohmann::json& record);

 private:
  JsonLines(int fd, std::filesystem::path path) : fd_(fd), path_(std::move(path)) {}
  int fd_ = -1;
  std::filesystem::path path_;
};

/// Rewrites the file atomically with the records that `keep` wants. No file: nothing. Errors: Io,
/// Corrupt.
Expected<void> keep_lines(const std::filesystem::path& path,
                          const std::function<bool(const nlohmann::json&)>& keep);

/// `records` as the text of such a file. Bytes that are no UTF-8 become U+FFFD.
std::string lines_text(const std::vector<nlohmann::json>& records);

}  // namespace weft::runtime
