// Preloaded by tests, never linked: see faulty_system.h. Plain C library calls only, no allocation.
#include "tests/runtime/faulty_system.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

using namespace weft::test;

SystemFaults* faults = nullptr;  // null: this process is left alone
char own_verb[16] = "";

template <class Function>
Function* next(Function* /*of this type*/, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}
#define NEXT(name) static const auto real = next(&::name, #name)

__attribute__((constructor)) void map_faults() {
  const char* const path = std::getenv(kFaultsVariable);
  if (path == nullptr) return;
  const int file = ::open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void* const memory =
      ::mmap(nullptr, sizeof(SystemFaults), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  const int line = ::open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
  char text[512];
  const ssize_t n = line < 0 ? 0 : ::read(line, text, sizeof text - 1);
  if (line >= 0) ::close(line);
  text[n > 0 ? n : 0] = '\0';
  const std::size_t first = std::strlen(text);
  if (n > 0 && first + 1 < static_cast<std::size_t>(n))
    std::snprintf(own_verb, sizeof own_verb, "%s", text + first + 1);
  if (memory != MAP_FAILED) faults = static_cast<SystemFaults*>(memory);
}

/// One of a number that is left, in whichever process comes first.
bool take_one(std::atomic<std::int64_t>& left) {
  std::int64_t now = left.load();
  while (now > 0)
    if (left.compare_exchange_weak(now, now - 1)) return true;
  return false;
}

bool fails(SystemCall call, const char* path) {
  if (faults == nullptr || faults->num_to_fail.load() <= 0 || (faults->calls.load() & call) == 0 ||
      path == nullptr || std::strstr(path, faults->path) == nullptr)
    return false;
  if (take_one(faults->let_pass) || !take_one(faults->num_to_fail)) return false;
  timespec now{};
  NEXT(clock_gettime);
  real(CLOCK_REALTIME, &now);
  std::int64_t none = 0;
  faults->first_failed_ns.compare_exchange_strong(none, now.tv_sec * 1'000'000'000 + now.tv_nsec);
  ++faults->num_failed;
  errno = faults->error.load();
  return true;
}

bool fails(SystemCall call, int descriptor) {
  if (faults == nullptr || faults->num_to_fail.load() <= 0 || (faults->calls.load() & call) == 0)
    return false;
  char name[64], path[1024];
  std::snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
  const ssize_t n = ::readlink(name, path, sizeof path - 1);
  if (n <= 0) return false;
  path[n] = '\0';
  return fails(call, path);
}

std::int64_t offset() { return faults == nullptr ? 0 : faults->wall_offset_ns.load(); }

}  // namespace

extern "C" {

ssize_t write(int fd, const void* data, size_t n) {
  NEXT(write);
  return fails(kWrite, fd) ? -1 : real(fd, data, n);
}
ssize_t pwrite(int fd, const void* data, size_t n, off_t at) {
  NEXT(pwrite);
  return fails(kWrite, fd) ? -1 : real(fd, data, n, at);
}
ssize_t pwrite64(int fd, const void* data, size_t n, off64_t at) {
  NEXT(pwrite64);
  return fails(kWrite, fd) ? -1 : real(fd, data, n, at);
}
int fsync(int fd) {
  NEXT(fsync);
  return fails(kSync, fd) ? -1 : real(fd);
}
int fdatasync(int fd) {
  NEXT(fdatasync);
  return fails(kSync, fd) ? -1 : real(fd);
}
int rename(const char* from, const char* to) noexcept {
  NEXT(rename);
  return fails(kRename, to) ? -1 : real(from, to);
}
int renameat2(int from_at, const char* from, int to_at, const char* to,
              unsigned int flags) noexcept {
  NEXT(renameat2);
  return fails(kRename, to) ? -1 : real(from_at, from, to_at, to, flags);
}
int mkdir(const char* path, mode_t mode) noexcept {
  NEXT(mkdir);
  return fails(kCreate, path) ? -1 : real(path, mode);
}
int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  NEXT(open);
  return (flags & O_CREAT) != 0 && fails(kCreate, path) ? -1 : real(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  NEXT(open64);
  return (flags & O_CREAT) != 0 && fails(kCreate, path) ? -1 : real(path, flags, mode);
}

int clock_gettime(clockid_t clock, timespec* now) noexcept {
  NEXT(clock_gettime);
  const int result = real(clock, now);
  if (result != 0 || clock != CLOCK_REALTIME || offset() == 0) return result;
  const std::int64_t ns = now->tv_sec * 1'000'000'000 + now->tv_nsec + offset();
  *now = {ns / 1'000'000'000, ns % 1'000'000'000};
  return 0;
}
int gettimeofday(timeval* now, void*) noexcept {
  timespec precise{};
  clock_gettime(CLOCK_REALTIME, &precise);
  *now = {precise.tv_sec, precise.tv_nsec / 1000};
  return 0;
}
time_t time(time_t* out) noexcept {
  timespec precise{};
  clock_gettime(CLOCK_REALTIME, &precise);
  if (out != nullptr) *out = precise.tv_sec;
  return precise.tv_sec;
}

ssize_t recv(int fd, void* data, size_t n, int flags) {
  NEXT(recv);
  const ssize_t got = real(fd, data, n, flags);
  // Encrypted messages, no handshake: that is over when a test asks for this.
  if (got < 64 || faults == nullptr || faults->num_to_flip.load() <= 0 ||
      std::strcmp(faults->verb, own_verb) != 0 || !take_one(faults->num_to_flip))
    return got;
  static_cast<unsigned char*>(data)[got / 2] ^= 0x04;
  ++faults->num_flipped;
  return got;
}

}  // extern "C"
