// Faults below a whole run: libweft_faulty_system.so, preloaded into every process of it, lets
// system calls fail, the wall clock jump and bytes from sockets change, as a file says that they
// all map. The test writes that file while the run goes on.
#pragma once

#include <atomic>
#include <cstdint>

namespace weft::test {

/// What may fail: a set of these.
enum SystemCall : std::uint32_t {
  kWrite = 1,   // write, pwrite
  kSync = 2,    // fsync, fdatasync
  kRename = 4,  // rename, renameat2
  kCreate = 8,  // open with O_CREAT, mkdir
  kAnyCall = 15
};

/// The file's content. Everything 0: nothing happens.
struct SystemFaults {
  // Calls on paths that hold `path` fail with `error`, once `let_pass` of them have succeeded.
  char path[96];  // written before `num_to_fail`
  std::atomic<std::uint32_t> calls;
  std::atomic<int> error;
  std::atomic<std::int64_t> let_pass;
  std::atomic<std::int64_t> num_to_fail;
  std::atomic<std::int64_t> num_failed;
  std::atomic<std::int64_t> first_failed_ns;  // since the epoch, as the kernel has it

  std::atomic<std::int64_t> wall_offset_ns;  // what every look at the wall clock is wrong by

  // One byte in the middle of what these sockets bring, in processes of that verb.
  char verb[16];  // "worker", "coordinator", "run"; written before `num_to_flip`
  std::atomic<std::int64_t> num_to_flip;
  std::atomic<std::int64_t> num_flipped;
};

inline constexpr const char* kFaultsVariable = "FAULTY_SYSTEM";  // the file's path

}  // namespace weft::test
