#include "trainer/corpus/sources.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/files.h"
#include "trainer/checkpoint/hash.h"

namespace weft::trainer::corpus {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 20;

Expected<void> check_readable_kind(const std::string& path) {
  static constexpr std::array<const char*, 9> kOthers = {
      ".zst", ".parquet", ".arrow", ".bz2", ".xz", ".zip", ".tar", ".bin", ".safetensors"};
  for (const char* ending : kOthers)
    if (path.ends_with(ending))
      return fail(Code::InvalidArgument, path + ": " + ending +
                                             " files are not read; give plain text or JSONL, as it "
                                             "is or packed with gzip");
  return {};
}

}  // namespace

bool is_gzip(std::string_view path) { return path.ends_with(".gz"); }

FileKind kind_of(std::string_view path) {
  if (is_gzip(path)) path.remove_suffix(3);
  for (const char* ending : {".jsonl", ".json", ".ndjson"})
    if (path.ends_with(ending)) return FileKind::Jsonl;
  return FileKind::Text;
}

Expected<SourceFile> look_at(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return io_error("read the data", path, errno);
  if (S_ISDIR(status.st_mode))
    return fail(Code::InvalidArgument,
                path + " is a directory; name its files, such as '" + path + "/*.jsonl'");
  // A pipe could be read once only, and a run has to find the same data again.
  if (!S_ISREG(status.st_mode)) return fail(Code::InvalidArgument, path + " is not a plain file");
  SourceFile file;
  file.path = path;
  file.size = static_cast<std::uint64_t>(status.st_size);
  file.modified = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  return file;
}

Expected<std::vector<SourceFile>> find_sources(const std::string& pattern) {
  std::vector<std::string> paths;
  if (pattern.find_first_of("*?[") == std::string::npos || ::access(pattern.c_str(), F_OK) == 0) {
    paths.push_back(pattern);
  } else {
    glob_t found{};
    const int outcome = ::glob(pattern.c_str(), 0, nullptr, &found);
    for (std::size_t i = 0; outcome == 0 && i < found.gl_pathc; ++i)
      paths.emplace_back(found.gl_pathv[i]);
    ::globfree(&found);
    if (paths.empty()) return fail(Code::NotFound, "no file matches " + pattern);
  }
  std::vector<SourceFile> files;
  for (const std::string& path : paths) {
    WEFT_TRY(check_readable_kind(path));
    WEFT_TRY_ASSIGN(SourceFile file, look_at(path));
    files.push_back(std::move(file));
  }
  return files;
}

Expected<std::string> hash_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return io_error("read the data", path, errno);
  checkpoint::Hasher hasher;
  std::vector<std::byte> chunk(kChunk);
  for (;;) {
    const ssize_t got = ::read(fd, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const int error = errno;
      ::close(fd);
      return io_error("read the data", path, error);
    }
    if (got == 0) break;
    hasher.add(std::span(chunk).first(static_cast<std::size_t>(got)));
  }
  ::close(fd);
  return checkpoint::to_hex(hasher.digest());
}

Expected<void> check_unchanged(const SourceFile& before) {
  static constexpr const char* kWhatToDo =
      "; a run goes on only with the data it began with: bring the file back, or start a new run";
  const auto now = look_at(before.path);
  if (!now) return fail_in("the data cannot be found again", now.error());
  if (now->size != before.size)
    return fail(Code::InvalidArgument, before.path + " has changed since it was indexed: it had " +
                                           std::to_string(before.size) + " bytes and has " +
                                           std::to_string(now->size) + kWhatToDo);
  if (now->modified == before.modified) return {};
  WEFT_TRY_ASSIGN(const std::string hash, hash_file(before.path));
  if (hash == before.hash) return {};
  return fail(Code::InvalidArgument, before.path +
                                         " has changed since it was indexed: it is as long as "
                                         "before, but its content is another" +
                                         kWhatToDo);
}

}  // namespace weft::trainer::corpus
