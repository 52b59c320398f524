// Renews a leader's lease on a thread of its own: a write into a shared directory may take long,
// and agents wait for the coordinator's answers meanwhile.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/expected.h"
#include "runtime/coordinator/election.h"

namespace weft::runtime {

/// Only what take() brings is a renewal. One that hangs brings nothing, so its leader steps down
/// when its time is over (CoordinatorOptions::lease_lost_bound), as it should.
/// Threads: one calls; the writes are done by another, in order, and never two at once.
class LeaseKeeper {
 public:
  /// Writes the claim, then reads the highest term of the directory.
  using Write = std::function<Expected<std::int64_t>(const Claim&)>;
  struct Renewal {
    Expected<std::int64_t> highest_term;
    Instant begun{};  // the lease is as new as that, whenever it is heard of
  };

  /// `clock` outlives the process's work: a write that hangs keeps its thread for ever.
  LeaseKeeper(Write write, const Clock& clock);
  /// Waits for a write that is under way, but not for one that hangs.
  ~LeaseKeeper();
  LeaseKeeper(const LeaseKeeper&) = delete;
  LeaseKeeper& operator=(const LeaseKeeper&) = delete;

  /// Returns at once. Of those that wait for the one under way only the newest is written.
  void renew(const Claim& claim);
  /// The newest that has ended since the last call.
  std::optional<Renewal> take();
  /// The last word of a leader, such as that it gave up. False: it was not written within `bound`.
  bool finish(const Claim& claim, std::chrono::milliseconds bound);

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace weft::runtime
