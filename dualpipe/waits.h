// Who waits for whom: from a schedule and where each rank stands in it, the first rank that did not
// do its action, and the chain of those who wait for that. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/expected.h"
#include "dualpipe/record.h"
#include "dualpipe/schedule.h"

namespace weft::dualpipe {

/// Rank = position * lanes + lane; `expert` neighbouring lanes exchange their tokens.
struct WaitsWorld {
  Kind kind = Kind::OneFOneB;
  int positions = 1, lanes = 1, expert = 1;
  int micro_batches = 1;  // of a training pass
  int world() const { return positions * lanes; }
};

/// What is known of a rank.
struct Standing {
  enum class Process : std::uint8_t { Unknown, Runs, Stopped, Gone };
  bool known = false;   // false: nobody can tell where it stands
  bool moving = false;  // it stood elsewhere a moment before
  Process process = Process::Unknown;
  Here here;
  std::int64_t age_ns = -1;  // since its last sign of life; -1: never
};

struct Wait {
  int from = 0, to = 0;
  bool ready = false;  // what is waited for was begun at `to`, and has not come
  friend bool operator==(const Wait&, const Wait&) = default;
};

struct Culprit {
  enum class Why : std::uint8_t {
    Stopped,  // its process is stopped
    Gone,     // its process has ended
    Unknown,  // nothing is known of it
    Works,    // it waits for nobody
    Stands,   // what it waits for is there
    Cycle     // it waits for one that waits for it
  };
  int rank = 0;
  Why why = Why::Works;
  int waiters = 0;  // ranks that wait for it, also through others
};

struct Diagnosis {
  std::vector<Culprit> culprits;  // the likeliest first; none where nobody waits
  std::vector<Wait> chain;        // each waiter once, those next to a culprit first
};

/// `standings`: one a rank. A rank that waits for what others have done long ago is blamed itself;
/// one whose process is stopped or gone is, whatever it waits for; of a cycle, who has been silent
/// longest. Independent culprits are all named.
/// Errors: InvalidArgument for sizes that no schedule has.
Expected<Diagnosis> find_waits(const WaitsWorld& world, const std::vector<Standing>& standings);

/// "rank 2 is at F dir 0 stage 1 mb 3, experts of layer 0 ...", then a line for each waiter.
std::string to_text(const Diagnosis& diagnosis, const std::vector<Standing>& standings);
/// One culprit / one wait, as a line.
std::string describe(const Culprit& culprit, const Standing& standing);
std::string describe(const Wait& wait, const Standing& waiter);
std::string_view to_string(Culprit::Why why);

}  // namespace weft::dualpipe
