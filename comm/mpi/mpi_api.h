// What the transport asks of MPI, as a table of C functions that libweft_comm_mpi.so fills in: the
// only file that knows mpi.h is in that library, and it knows nothing of weft but this table.
// Internal to comm/mpi.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::comm {

/// Every function returns 0 or MPI's error code. A request is null when nothing is under way;
/// ranks are the world's. Threads: one at a time.
struct MpiApi {
  static constexpr std::uint32_t kVersion = 1;
  std::uint32_t version;
  /// Once a process: MPI cannot be started again.
  int (*init)(int* rank, int* size);
  int (*send)(const void* data, std::size_t bytes, int to, int tag, void** request);
  int (*receive)(void* into, std::size_t bytes_max, int from, int tag, void** request);
  /// When it has ended: *done is 1, *request null, *bytes the length of what was received.
  int (*test)(void** request, int* done, std::size_t* bytes);
  /// Takes a receive back; *done is 0 where its message has begun to arrive (nothing changed).
  int (*cancel)(void** request, int* done);
  int (*all_gather)(const void* mine, void* all, std::size_t bytes_each, void** request);
  int (*barrier)(void** request);
  int (*finalize)();
  void (*describe_error)(int code, char* text, std::size_t size);
};

inline constexpr char kMpiPlugin[] = "libweft_comm_mpi.so";
inline constexpr char kMpiApiFunction[] = "weft_mpi_api";

}  // namespace weft::comm
