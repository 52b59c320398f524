#include "tests/runtime/faulty_run.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <stdexcept>

namespace weft::test {

FaultyRun::FaultyRun(const std::filesystem::path& file) : file_(file) {
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0 || ::ftruncate(descriptor, sizeof(SystemFaults)) != 0)
    throw std::runtime_error("cannot create " + file.string());
  void* const memory =
      ::mmap(nullptr, sizeof(SystemFaults), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  ::close(descriptor);
  if (memory == MAP_FAILED) throw std::runtime_error("cannot map " + file.string());
  faults_ = static_cast<SystemFaults*>(memory);
}

FaultyRun::~FaultyRun() { ::munmap(faults_, sizeof(SystemFaults)); }

std::vector<std::string> FaultyRun::environment() const {
  // The sanitizer wants to be first; it works as well behind a library that only passes on.
  return {kFaultsVariable + ("=" + file_.string()), "LD_PRELOAD=" WEFT_FAULTY_SYSTEM,
          "ASAN_OPTIONS=verify_asan_link_order=0"};
}

void FaultyRun::fail(const std::string& path, std::uint32_t calls, int error, std::int64_t count) {
  faults_->num_to_fail = 0;
  std::snprintf(faults_->path, sizeof faults_->path, "%s", path.c_str());
  faults_->calls = calls;
  faults_->error = error;
  faults_->num_failed = 0;
  faults_->first_failed_ns = 0;
  faults_->num_to_fail = count;
}

double FaultyRun::first_failed() const {
  const std::int64_t ns = faults_->first_failed_ns;
  return ns == 0 ? -1 : static_cast<double>(ns) * 1e-9;
}

void FaultyRun::set_clock(double seconds_wrong) {
  faults_->wall_offset_ns = static_cast<std::int64_t>(seconds_wrong * 1e9);
}

void FaultyRun::flip(const std::string& verb, std::int64_t count) {
  std::snprintf(faults_->verb, sizeof faults_->verb, "%s", verb.c_str());
  faults_->num_to_flip = count;
}

}  // namespace weft::test
