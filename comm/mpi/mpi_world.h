// What the groups of one MPI process share: the table of MPI functions, everybody's progress, and
// how a process waits. Internal to comm/mpi.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "comm/mpi/mpi_api.h"
#include "comm/mpi/mpi_transport.h"

namespace weft::comm {

class MpiCommunicator;

class MpiWorld {
 public:
  MpiWorld(const MpiApi& functions, const MpiOptions& wanted) : api(functions), options(wanted) {}
  /// When the transport and all its groups are gone: ends MPI, once all ranks have come here
  /// (MPI_Finalize itself would wait for them without a bound).
  ~MpiWorld();
  MpiWorld(const MpiWorld&) = delete;
  MpiWorld& operator=(const MpiWorld&) = delete;

  const MpiApi& api;
  bool started = false;
  const MpiOptions options;
  int rank = 0, size = 1;
  std::vector<MpiCommunicator*> members;  // this process's ends of groups

  /// Set when an error has left a long message half-way: MPI cannot take it back and would touch
  /// its buffer in any later call, so no call is made any more and every group is ended.
  std::optional<std::string> ended;

  /// Every group's started operations; true when anything moved.
  bool progress();
  /// Waits for a request of all ranks together. Errors: DeadlineExceeded, Unavailable.
  Expected<void> wait(void** request, const std::string& what);
  std::string describe(int code) const;
};

/// Steps of one wait. Ranks may outnumber cores and MPI has no way to sleep until a message comes:
/// whoever waits yields for a while, then looks up ever less often.
class MpiPatience {
 public:
  explicit MpiPatience(std::chrono::milliseconds bound)
      : begin_(std::chrono::steady_clock::now()), deadline_(begin_ + bound), moved_(begin_) {}
  void reset() { idle_ = 0; }
  /// False: the bound has passed.
  bool step();

 private:
  Instant begin_, deadline_, moved_;
  int idle_ = 0;
};

}  // namespace weft::comm
