// Which checkpoints of a run stay: the newest, some of the older, and what a person has pinned.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/expected.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/disk.h"

namespace weft::trainer::checkpoint {

inline constexpr const char* kPinsFolder = "pins";

struct PruneRule {
  int keep = 3;                        // newest complete ones; at least 1
  std::uint64_t attempt = 0;           // the present one
  std::uint64_t step = 0;              // just committed: always kept
  std::uint64_t keep_every_steps = 0;  // complete ones of a multiple of it stay; 0: none
  double keep_every_seconds = 0;       // the first complete one of each such span stays; 0: none
};

/// Partial, and nobody can be writing it any more (by the rule below).
bool is_stale(const Entry& partial, const PruneRule& rule);

/// What is to become of one checkpoint, and why.
struct Fate {
  Entry entry;
  bool remove = false;
  std::string reason;  // "one of the newest 3", "pinned", "older than those that are kept", ...
};

/// Removes complete checkpoints beyond the newest `keep` that no other rule keeps, damaged ones
/// older than those, partial ones of earlier attempts (the one before the present excepted: a slow
/// writer may still be at it) and of this attempt up to `step`. A checkpoint whose sizes do not
/// verify does not count as kept; when none verifies, none is removed. Pinned ones always stay and
/// do not count. Newest first. Changes nothing. Errors: Io.
Expected<std::vector<Fate>> plan_prune(const fs::path& ckpt_dir, const PruneRule& rule,
                                       Disk& disk = Disk::real());

/// Carries plan_prune out. Returns the names removed. Errors: Io; what was removed stays removed.
Expected<std::vector<std::string>> prune(const fs::path& ckpt_dir, const PruneRule& rule,
                                         Disk& disk = Disk::real());
/// Out of the way first, so that no half-removed directory bears a checkpoint's name.
Expected<void> remove_checkpoint(const fs::path& ckpt_dir, const std::string& name,
                                 Disk& disk = Disk::real());

/// Names that prune leaves alone; a file of each in `ckpt_dir`/pins. Errors: Io.
Expected<std::set<std::string>> pins(const fs::path& ckpt_dir, Disk& disk = Disk::real());
/// Also of a checkpoint that is pinned already. Errors: NotFound unless `name` is a complete
/// checkpoint; Io.
Expected<void> pin(const fs::path& ckpt_dir, const std::string& name, Disk& disk = Disk::real());
/// Also of one that is not pinned. Errors: Io.
Expected<void> unpin(const fs::path& ckpt_dir, const std::string& name, Disk& disk = Disk::real());

}  // namespace weft::trainer::checkpoint
