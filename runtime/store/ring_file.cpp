#include "runtime/store/ring_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <span>

#include "base/files.h"

namespace weft::runtime {

namespace fs = std::filesystem;
using dualpipe::RankRecording;

namespace {

/// Larger ones are not ours.
constexpr std::size_t kRingBytesMax = std::size_t{1} << 31;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

std::uint64_t clock_name() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (char c; file.get(c);) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash;
}

Expected<std::unique_ptr<RingFile>> RingFile::create(const fs::path& path,
                                                     const dualpipe::RingSize& size,
                                                     dualpipe::RingInfo info, const Clock& clock) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) return io_error("create", path.parent_path(), error.value());
  if (fs::exists(path, error)) fs::rename(path, path.string() + ".previous", error);
  if (error) return io_error("rename", path, error.value());

  const std::size_t bytes = dualpipe::ring_bytes(size);
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0) return io_error("create", path, errno);
  void* memory = MAP_FAILED;
  int failed = ::posix_fallocate(file, 0, static_cast<off_t>(bytes));
  if (failed == 0) {
    memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
    failed = memory == MAP_FAILED ? errno : 0;
  }
  ::close(file);
  if (failed != 0) {
    ::unlink(path.c_str());
    return io_error("allocate", path, failed);
  }
  info.pid = ::getpid();
  info.clock = clock_name();
  info.monotonic_ns = clock.now().time_since_epoch().count();
  info.wall_ns = clock.wall_now().time_since_epoch().count();
  std::unique_ptr<RingFile> ring(new RingFile(static_cast<std::byte*>(memory), bytes));
  ring->recorder_ =
      std::make_unique<dualpipe::StepRecorder>(std::span(ring->memory_, bytes), size, info);
  return ring;
}

RingFile::~RingFile() {
  recorder_.reset();
  ::munmap(memory_, bytes_);
}

Expected<RankRecording> read_ring_file(const fs::path& path) {
  std::error_code error;
  if (fs::exists(path, error) && !fs::is_regular_file(path, error))
    return fail(Code::Corrupt, path.string() + " is no file");  // a pipe would never end
  WEFT_TRY_ASSIGN(const std::string ring, read_file(path, kRingBytesMax));
  // Once more the part that tells what was overwritten while the rest was being read.
  std::string later(dualpipe::ring_head_bytes(bytes_of(ring)), '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(later.data(), static_cast<std::streamsize>(later.size()));
  later.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  auto recording = dualpipe::read_ring(bytes_of(ring), bytes_of(later));
  if (!recording) return fail_in(path.string(), recording.error());
  return recording;
}

Expected<dualpipe::RankHere> read_here_file(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return fail(Code::NotFound, path.string() + " is no file");
  std::string page(dualpipe::kRingPage, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(page.data(), static_cast<std::streamsize>(page.size())))
    return fail(Code::Corrupt, path.string() + ": too short for a ring of recorded steps");
  auto here = dualpipe::read_here(bytes_of(page));
  if (!here) return fail_in(path.string(), here.error());
  return here;
}

RingFiles read_ring_files(const fs::path& directory) {
  RingFiles files;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() != ".ring") continue;
    auto recording = read_ring_file(entry->path());
    if (recording)
      files.recordings.push_back(std::move(*recording));
    else
      files.unreadable.push_back(recording.error().message);
  }
  std::ranges::sort(files.recordings, {}, [](const RankRecording& r) { return r.info.rank; });
  std::ranges::sort(files.unreadable);
  return files;
}

}  // namespace weft::runtime
