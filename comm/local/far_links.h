// What a world that is larger than one host adds to shared memory: ways to ranks that share none
// with us. The waits of shared memory move them too, and sleep where they can be woken by either.
// Internal to comm.
#pragma once

#include "base/clock.h"

namespace weft::comm {

/// One rank's links to all others of its world. Threads: that of its rank.
class FarLinks {
 public:
  virtual ~FarLinks() = default;
  /// Takes in what has come, and writes what could not be written before. True: anything moved.
  virtual bool progress() = 0;
  /// Until something has come, or something can be written, or nudged; at most `longest`.
  virtual void sleep(Duration longest) = 0;
  /// Ends the sleep of a rank of our node.
  virtual void nudge(int world_rank) = 0;
};

}  // namespace weft::comm
