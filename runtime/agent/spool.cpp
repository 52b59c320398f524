#include "runtime/agent/spool.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/files.h"

namespace weft::runtime {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t kPieceBytes = 4u << 20;    // read at once
constexpr std::size_t kMaxLineBytes = 80u << 20;  // longer than any control message

/// The generation of "g000003.node.jsonl", or -1.
int generation_of(const std::string& name) {
  int generation = -1;
  if (name.size() < 8 || name[0] != 'g' || !name.ends_with(".jsonl")) return -1;
  const auto [end, error] = std::from_chars(name.data() + 1, name.data() + name.size(), generation);
  return error == std::errc() && *end == '.' ? generation : -1;
}

/// Spool files by generation, then name.
std::vector<std::pair<int, std::string>> spools_in(const fs::path& directory) {
  std::vector<std::pair<int, std::string>> found;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (const int generation = generation_of(name); generation >= 0)
      found.emplace_back(generation, name);
  }
  std::ranges::sort(found);
  return found;
}

class File {
 public:
  explicit File(const fs::path& path) : file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (file_ >= 0) ::close(file_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return file_; }

 private:
  int file_;
};

}  // namespace

fs::path spool_file(const fs::path& directory, int generation, const std::string& node) {
  char name[32];
  std::snprintf(name, sizeof name, "g%06d.", generation);
  return directory / (name + node + ".jsonl");
}

Expected<SpoolWriter> SpoolWriter::open(const fs::path& directory, int generation,
                                        const std::string& node) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return io_error("create", directory, error.value());
  const fs::path path = spool_file(directory, generation, node);
  SpoolWriter writer(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644), path);
  if (writer.file_ < 0) return io_error("open", path, errno);
  WEFT_TRY_ASSIGN(std::string text, read_file(path, std::size_t{1} << 32));
  const std::size_t whole = text.rfind('\n') + 1;
  if (whole < text.size() && ::ftruncate(writer.file_, static_cast<off_t>(whole)) != 0)
    return io_error("repair", path, errno);
  return writer;
}

SpoolWriter::SpoolWriter(SpoolWriter&& other) noexcept
    : file_(std::exchange(other.file_, -1)),
      path_(std::move(other.path_)),
      last_(std::move(other.last_)) {}

SpoolWriter& SpoolWriter::operator=(SpoolWriter&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(path_, other.path_);
  std::swap(last_, other.last_);
  return *this;
}

SpoolWriter::~SpoolWriter() {
  if (file_ >= 0) ::close(file_);
}

Expected<void> SpoolWriter::append(int rank, long long sequence, const json& message) {
  const auto [last, fresh] = last_.try_emplace(rank, sequence);
  if (!fresh && sequence <= last->second) return {};
  const std::string line = json{{"rank", rank}, {"seq", sequence}, {"message", message}}.dump(
                               -1, ' ', false, json::error_handler_t::replace) +
                           '\n';
  struct stat before {};
  if (::fstat(file_, &before) != 0) return io_error("measure", path_, errno);
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t n = ::write(file_, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int reason = errno;
      if (::ftruncate(file_, before.st_size) != 0)
        return fail_in("and the torn line stays", io_error("write", path_, reason).value());
      return io_error("write", path_, reason);
    }
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
  last->second = sequence;
  return {};
}

namespace {

using Take = std::function<Expected<void>(const SpoolRecord&, const json&)>;

/// One file from `position` on.
Expected<void> read_spool(const fs::path& path, int generation, std::uint64_t& position,
                          long long& damaged, const Take& take) {
  const File file(path);
  if (file.get() < 0) return errno == ENOENT ? Expected<void>() : io_error("open", path, errno);
  std::string text;  // from `position` on
  std::string piece(kPieceBytes, '\0');
  for (;;) {
    const ssize_t n = ::pread(file.get(), piece.data(), piece.size(),
                              static_cast<off_t>(position + text.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("read", path, errno);
    if (n == 0) return {};
    text.append(piece, 0, static_cast<std::size_t>(n));
    std::size_t begin = 0;
    for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const json line = json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                                    text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
      const bool good = line.is_object() && line.contains("rank") &&
                        line["rank"].is_number_integer() && line.contains("message") &&
                        line["message"].is_object();
      if (good)
        WEFT_TRY(take({generation, line["rank"].get<int>()}, line["message"]));
      else
        ++damaged;
      position += end + 1 - begin;
    }
    text.erase(0, begin);
    if (text.size() > kMaxLineBytes)
      return fail(Code::Corrupt, path.string() + " has a line without an end");
  }
}

}  // namespace

Expected<void> read_spools(const fs::path& directory, SpoolPositions& positions, long long& damaged,
                           const Take& take) {
  for (const auto& [generation, name] : spools_in(directory))
    WEFT_TRY(read_spool(directory / name, generation, positions[name], damaged, take));
  return {};
}

void remove_read_spools(const fs::path& directory, SpoolPositions& positions, int generation) {
  for (const auto& [of, name] : spools_in(directory)) {
    std::error_code error;
    if (of >= generation || fs::file_size(directory / name, error) > positions[name]) continue;
    if (fs::remove(directory / name, error)) positions.erase(name);
  }
}

}  // namespace weft::runtime
