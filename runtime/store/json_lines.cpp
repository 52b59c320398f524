#include "runtime/store/json_lines.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/files.h"
#include "runtime/store/run_store.h"

namespace weft::runtime {
namespace {

using nlohmann::json;

/// Model output may be cut inside a character; the record must be written all the same.
std::string line_text(const json& record) {
  return record.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Expected<void> write_all(int fd, std::string_view text, const std::filesystem::path& path) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("write", path, errno);
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

/// Where the last whole line ends.
Expected<off_t> whole_lines_end(int fd, off_t size, const std::filesystem::path& path) {
  char buffer[4096];
  while (size > 0) {
    const off_t start = std::max<off_t>(0, size - static_cast<off_t>(sizeof buffer));
    const ssize_t n = ::pread(fd, buffer, static_cast<std::size_t>(size - start), start);
    if (n < 0) return io_error("read", path, errno);
    const std::string_view read(buffer, static_cast<std::size_t>(n));
    if (const std::size_t end = read.rfind('\n'); end != std::string_view::npos)
      return start + static_cast<off_t>(end) + 1;
    if (n == 0) break;
    size = start;
  }
  return 0;
}

}  // namespace

Expected<JsonLines> JsonLines::open(const std::filesystem::path& path) {
  JsonLines lines(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644), path);
  if (lines.fd_ < 0) return io_error("open", path, errno);
  struct stat status {};
  if (::fstat(lines.fd_, &status) != 0) return io_error("stat", path, errno);
  if (!S_ISREG(status.st_mode)) return lines;
  WEFT_TRY_ASSIGN(const off_t end, whole_lines_end(lines.fd_, status.st_size, path));
  if (end < status.st_size && ::ftruncate(lines.fd_, end) != 0)
    return io_error("repair", path, errno);
  return lines;
}

JsonLines::JsonLines(JsonLines&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

JsonLines& JsonLines::operator=(JsonLines&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  return *this;
}

JsonLines::~JsonLines() {
  if (fd_ >= 0) ::close(fd_);
}

Expected<void> JsonLines::append(const json& record) {
  struct stat before {};
  if (::fstat(fd_, &before) != 0) return io_error("stat", path_, errno);
  const auto written = write_all(fd_, line_text(record), path_);
  if (!written && S_ISREG(before.st_mode) && ::ftruncate(fd_, before.st_size) != 0)
    return fail_in("and the torn line stays", written.error());
  return written;
}

Expected<std::vector<json>> read_json_lines(const std::filesystem::path& path) {
  WEFT_TRY_ASSIGN(const std::string text, read_file(path));
  std::vector<json> records;
  std::size_t start = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos;
       start = end + 1, end = text.find('\n', start)) {
    json record = json::parse(text.begin() + static_cast<std::ptrdiff_t>(start),
                              text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (!record.is_object())
      return fail(Code::Corrupt, path.string() + ":" + std::to_string(records.size() + 1) +
                                     " is not a JSON object (delete that line)");
    records.push_back(std::move(record));
  }
  return records;  // what follows the last newline is torn
}

Expected<void> keep_lines(const std::filesystem::path& path,
                          const std::function<bool(const json&)>& keep) {
  if (!std::filesystem::exists(path)) return {};
  WEFT_TRY_ASSIGN(const std::vector<json> records, read_json_lines(path));
  std::vector<json> kept;
  for (const json& record : records)
    if (keep(record)) kept.push_back(record);
  return write_file_atomically(path, lines_text(kept));
}

std::string lines_text(const std::vector<json>& records) {
  std::string text;
  for (const json& record : records) text += line_text(record);
  return text;
}

}  // namespace weft::runtime
