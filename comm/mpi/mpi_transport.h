// Ranks that MPI has started (mpirun, or srun --mpi=pmix): bytes move through Open MPI, with
// non-blocking calls only. MPI itself is reached through a plugin, so a binary that was built with
// it also starts where no MPI is installed.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "comm/communicator.h"

namespace weft::comm {

struct MpiOptions {
  /// The plugin's path; empty: libweft_comm_mpi.so in the executable's directory or the one above.
  std::string plugin;
  /// Of what all ranks do together outside a group: make_groups, and the end of the transport.
  std::chrono::milliseconds wait_bound{60'000};
  /// Longer messages go in pieces (MPI counts in int). The same on all ranks.
  std::size_t piece_bytes_max = std::size_t{1} << 30;
};

/// Starts MPI and takes this process's rank from it; once in the life of a process. MPI ends
/// when the transport and all its communicators are gone, in step with the other ranks.
/// Errors: Unsupported where the plugin or MPI is missing or the process was not started by MPI,
/// saying what to install or how to start it; Busy on a second call; Unavailable where MPI fails.
Expected<std::unique_ptr<Transport>> open_mpi_transport(const MpiOptions& options = {});

}  // namespace weft::comm
