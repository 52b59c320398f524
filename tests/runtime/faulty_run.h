// The test's end of libweft_faulty_system.so: what shall fail below the processes of a run.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/runtime/faulty_system.h"

namespace weft::test {

class FaultyRun {
 public:
  /// `file` is made, and goes with its directory.
  explicit FaultyRun(const std::filesystem::path& file);
  ~FaultyRun();
  FaultyRun(const FaultyRun&) = delete;
  FaultyRun& operator=(const FaultyRun&) = delete;

  /// For the Weft that shall run on it.
  std::vector<std::string> environment() const;

  /// From now on the next `count` of these calls on paths that hold `path` fail.
  void fail(const std::string& path, std::uint32_t calls, int error, std::int64_t count);
  /// The disk is good again.
  void mend() { faults_->num_to_fail = 0; }
  long long num_failed() const { return faults_->num_failed; }
  /// Seconds since the epoch, or -1.
  double first_failed() const;

  /// The wall clock of all processes is wrong by so much from now on.
  void set_clock(double seconds_wrong);

  /// One byte changes in each of the next `count` packets that processes of this verb receive.
  void flip(const std::string& verb, std::int64_t count);
  long long num_flipped() const { return faults_->num_flipped; }

 private:
  std::filesystem::path file_;
  SystemFaults* faults_;
};

/// For good: more than a test's run ever calls.
inline constexpr std::int64_t kForGood = 1'000'000'000;

}  // namespace weft::test
