#include "trainer/corpus/index.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "base/files.h"
#include "trainer/checkpoint/hash.h"

namespace weft::trainer::corpus {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kManifestBytesMax = std::size_t{64} << 20;

/// All of `size` bytes at `offset`. Errors: Io; Corrupt when the file is shorter.
Expected<void> read_at(int fd, void* to, std::size_t size, std::uint64_t offset) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t got =
        ::pread(fd, static_cast<char*>(to) + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return fail(Code::Io,
                  std::string("the data's index cannot be read: ") + std::strerror(errno));
    if (got == 0)
      return fail(
          Code::Corrupt,
          "the data's index was cut off while it was in use; delete it to have it made anew");
    done += static_cast<std::size_t>(got);
  }
  return {};
}

/// Holds DIR/<key>.lock until it is destroyed. Works between processes and between threads.
class Lock {
 public:
  Lock() = default;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock() {
    if (fd_ >= 0) ::close(fd_);
  }
  Expected<void> take(const fs::path& path) {
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) return io_error("lock the data's index", path, errno);
    while (::flock(fd_, LOCK_EX) != 0)
      if (errno != EINTR) return io_error("lock the data's index", path, errno);
    return {};
  }

 private:
  int fd_ = -1;
};

Expected<void> build_beside(const IndexSpec& spec, const fs::path& place, const Coder& coder,
                            const ProgressFunction& progress) {
  const fs::path making = place.string() + ".making";
  std::error_code error;
  fs::remove_all(making, error);
  fs::remove_all(place, error);  // without index.json it is none
  if (!fs::create_directories(making, error) && error)
    return io_error("make the data's index", making, error.value());
  if (auto built = build_index(spec, making, coder, progress); !built) {
    fs::remove_all(making, error);
    return tl::unexpected<Error>(std::move(built).error());
  }
  fs::rename(making, place, error);
  if (error) return io_error("make the data's index", place, error.value());
  return sync_directory(place.parent_path());
}

}  // namespace

std::string IndexSpec::text(const Coder& coder) const {
  return "weft.corpus/v1\n" + pattern + "\ntext_key " + text_key + "\nunit " +
         std::to_string(static_cast<int>(unit)) + "\nanswers " +
         std::to_string(static_cast<int>(answers)) + "\nheld_out " + std::to_string(held_out) +
         "\nbad_lines " + (skip_bad_lines ? "skip" : "fail") + "\ndocument_bytes " +
         std::to_string(document_bytes) + "\nmax_line " + std::to_string(max_line) + "\ncoder " +
         coder.identity() + "\n";
}

Expected<std::shared_ptr<const Index>> Index::open(const IndexSpec& spec, const fs::path& directory,
                                                   const Coder& coder,
                                                   const ProgressFunction& progress) {
  const std::string spec_text = spec.text(coder);
  const fs::path place =
      directory / checkpoint::to_hex(checkpoint::hash_of(std::string_view(spec_text)));
  std::error_code error;
  if (!fs::exists(place / "index.json", error)) {
    WEFT_TRY_ASSIGN(const auto files, find_sources(spec.pattern));  // before anything is made
    if (!fs::create_directories(directory, error) && error)
      return io_error("make the data's index", directory, error.value());
    Lock lock;
    WEFT_TRY(lock.take(place.string() + ".lock"));
    if (!fs::exists(place / "index.json", error))
      WEFT_TRY(build_beside(spec, place, coder, progress));
  }
  return open_made(place, spec_text);
}

Expected<std::shared_ptr<const Index>> Index::open_made(const fs::path& directory,
                                                        const std::string& spec_text) {
  WEFT_TRY_ASSIGN(const std::string text,
                  weft::read_file(directory / "index.json", kManifestBytesMax));
  auto parsed = Manifest::parse(text);
  if (!parsed) return fail_in((directory / "index.json").string(), parsed.error());
  Manifest& manifest = *parsed;
  if (manifest.spec_text != spec_text)
    return fail(Code::Corrupt,
                directory.string() + " is the index of other data; delete it to have it made anew");
  std::shared_ptr<Index> index(new Index());
  index->fingerprint_ = manifest.fingerprint();
  index->pattern_ = std::move(manifest.pattern);
  index->files_ = std::move(manifest.files);
  index->counts_ = manifest.counts;
  index->warnings_ = std::move(manifest.warnings);
  index->token_width_ = manifest.token_width;
  index->documents_ = {manifest.train, manifest.held};
  WEFT_TRY(index->open_files(directory));
  WEFT_TRY_ASSIGN(const std::vector<SourceFile> present, find_sources(index->pattern_));
  for (const SourceFile& file : present) {
    const auto same = [&](const SourceFile& known) { return known.path == file.path; };
    if (std::ranges::none_of(index->files_, same))
      return fail(Code::InvalidArgument, file.path + " was not there when " + index->pattern_ +
                                             " was indexed; take it away, or start a new run");
  }
  for (const SourceFile& file : index->files_) WEFT_TRY(check_unchanged(file));
  return std::shared_ptr<const Index>(std::move(index));
}

Expected<void> Index::open_files(const fs::path& directory) {
  const auto open_one = [&](const char* name, std::uint64_t expected) -> Expected<int> {
    const fs::path path = directory / name;
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return io_error("read the data's index", path, errno);
    struct stat status {};
    if (::fstat(fd, &status) != 0 || static_cast<std::uint64_t>(status.st_size) != expected) {
      ::close(fd);
      return fail(Code::Corrupt, path.string() + " has " + std::to_string(status.st_size) +
                                     " bytes instead of " + std::to_string(expected) + "; delete " +
                                     directory.string() + " to have it made anew");
    }
    return fd;
  };
  WEFT_TRY_ASSIGN(tokens_, open_one("tokens", counts_.tokens * token_width_));
  WEFT_TRY_ASSIGN(tables_[0], open_one("train", documents_[0] * sizeof(Entry)));
  WEFT_TRY_ASSIGN(tables_[1], open_one("held", documents_[1] * sizeof(Entry)));
  return {};
}

Index::~Index() {
  for (const int fd : {tokens_, tables_[0], tables_[1]})
    if (fd >= 0) ::close(fd);
}

std::uint64_t Index::documents(Part part) const {
  return documents_[static_cast<std::size_t>(part)];
}

Expected<void> Index::entries(Part part, std::uint64_t first, std::span<Entry> out) const {
  WEFT_TRY(read_at(tables_[static_cast<std::size_t>(part)], out.data(), out.size_bytes(),
                   first * sizeof(Entry)));
  for (const Entry& entry : out)
    if (entry.first_token > counts_.tokens || entry.tokens > counts_.tokens - entry.first_token ||
        entry.prompt_tokens > entry.tokens)
      return fail(Code::Corrupt,
                  "the index of " + pattern_ + " is damaged; delete it to have it made anew");
  return {};
}

Expected<void> Index::tokens(const Entry& entry, std::uint32_t first, std::uint32_t count,
                             std::vector<std::int32_t>& out) const {
  const auto width = static_cast<std::size_t>(token_width_);
  const std::size_t had = out.size();
  out.resize(had + count);
  // Read into the end of the room, then spread from its front: nothing is overtaken.
  auto* const bytes = reinterpret_cast<unsigned char*>(out.data() + had) + count * (4 - width);
  WEFT_TRY(read_at(tokens_, bytes, count * width, (entry.first_token + first) * width));
  for (std::size_t i = 0; i < count; ++i) {
    std::int32_t id = 0;
    std::memcpy(&id, bytes + i * width, width);
    std::memcpy(out.data() + had + i, &id, sizeof id);
  }
  return {};
}

}  // namespace weft::trainer::corpus
