// The checkpoints of a run: which there are, in which state, and which one to resume from.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "trainer/checkpoint/disk.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/verify.h"

namespace weft::trainer::checkpoint {

inline constexpr const char* kLatestLink = "latest";

/// "step-000000040"
std::string directory_name(std::uint64_t step);
/// "step-000000040.partial-a3": where attempt 3 writes step 40 before it is committed.
std::string partial_name(std::uint64_t step, std::uint64_t attempt);

/// "step-000000040.pruned": on its way out.
std::string pruned_name(const std::string& name);
bool is_pruned_name(std::string_view name);

enum class EntryState {
  Complete,         // has a valid manifest, and as far as was looked all that it names
  Partial,          // being written, given up, or on its way out
  CorruptManifest,  // has its final name but no valid manifest: does not exist for resume
  Incomplete,       // has a valid manifest and not all that it names: resume skips it
};
/// "complete", "partial", "corrupt-manifest", "incomplete"
const char* to_string(EntryState state);

struct Entry {
  fs::path directory;
  std::string name;
  EntryState state = EntryState::Partial;
  std::uint64_t step = 0;
  std::uint64_t attempt = 0;  // Complete, Incomplete and Partial
  std::uint64_t bytes = 0;    // Complete and Incomplete: as the manifest says
  std::string wall_time;      // Complete and Incomplete: RFC 3339
  std::string reason;         // CorruptManifest and Incomplete: why
};

/// Everything in `ckpt_dir` that is named like a checkpoint, by step, newest last. A missing
/// directory is an empty list. By the manifests alone: none is found Incomplete. Errors: Io.
Expected<std::vector<Entry>> list(const fs::path& ckpt_dir, Disk& disk = Disk::real());
/// The same, and each is looked at by `mode`, as newest_complete does: where that is Mode::Size, by
/// the size of every file that it names.
Expected<std::vector<Entry>> list(const fs::path& ckpt_dir, Mode mode, Disk& disk = Disk::real());

/// The same by name alone, no file is opened: what is not Partial is called Complete, unseen.
Expected<std::vector<Entry>> list_names(const fs::path& ckpt_dir, Disk& disk = Disk::real());

/// Looks into an entry of list_names that is called Complete: fills it, or finds it to be
/// CorruptManifest. Reads the manifest once.
void look_into(Entry& entry, Disk& disk = Disk::real());
/// The same, and is all there by `mode`? Returns "", or why not.
std::string examine_entry(Entry& entry, Mode mode, Disk& disk = Disk::real());

struct Skipped {
  std::string name;
  std::string reason;
};

struct Choice {
  std::optional<Entry> chosen;   // none: there is nothing to resume from
  std::vector<Skipped> skipped;  // newer than the chosen one, newest first, and why not they
};

/// The newest checkpoint that verifies. Mode::Full reads every byte of each candidate. `damaged`:
/// what the caller has found so already; they are skipped with its reason.
/// Errors: Io for the directory itself; a damaged or unreadable checkpoint is skipped, not an
/// error.
Expected<Choice> newest_complete(const fs::path& ckpt_dir, Mode mode, Disk& disk = Disk::real());
Expected<Choice> newest_complete(const fs::path& ckpt_dir, Mode mode,
                                 std::span<const Skipped> damaged, Disk& disk = Disk::real());

}  // namespace weft::trainer::checkpoint
