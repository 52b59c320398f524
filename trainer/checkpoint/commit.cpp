#include "trainer/checkpoint/commit.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "trainer/checkpoint/prune.h"

namespace weft::trainer::checkpoint {
namespace {

std::string describe(const std::string& item, const std::string& name) {
  return item + " tensor '" + name + "'";
}

Expected<void> check_ranks(std::span<const ShardReport> reports) {
  if (reports.empty()) return fail(Code::InvalidArgument, "no shard report");
  const int world = reports[0].world;
  std::set<int> ranks;
  for (const ShardReport& report : reports) {
    const std::string who = "the shard report of rank " + std::to_string(report.rank);
    if (report.world != world)
      return fail(Code::InvalidArgument, who + " is of " + std::to_string(report.world) +
                                             " ranks, others of " + std::to_string(world));
    if (!ranks.insert(report.rank).second) return fail(Code::InvalidArgument, who + " came twice");
  }
  for (int rank = 0; rank < world; ++rank)
    if (!ranks.contains(rank))
      return fail(Code::InvalidArgument,
                  "the shard report of rank " + std::to_string(rank) + " is missing");
  return {};
}

/// One entry a tensor, its pieces from all ranks. Ranks must agree on shape and dtype.
Expected<std::vector<TensorEntry>> merge_tensors(std::span<const ShardReport> reports) {
  struct Part {
    const TensorEntry* entry;
    int rank;
  };
  std::vector<Part> parts;
  for (const ShardReport& report : reports)
    for (const TensorEntry& t : report.tensors) parts.push_back({&t, report.rank});
  std::ranges::stable_sort(parts, [](const Part& a, const Part& b) {
    return std::tie(a.entry->item, a.entry->name) < std::tie(b.entry->item, b.entry->name);
  });
  std::vector<TensorEntry> tensors;
  for (const auto& [entry, rank] : parts) {
    if (tensors.empty() || tensors.back().item != entry->item ||
        tensors.back().name != entry->name) {
      tensors.push_back(*entry);
      continue;
    }
    TensorEntry& whole = tensors.back();
    if (whole.shape != entry->shape || whole.dtype != entry->dtype)
      return fail(Code::InvalidArgument, describe(whole.item, whole.name) + ": rank " +
                                             std::to_string(rank) + " says its shape is " +
                                             to_string(entry->shape) + ", others " +
                                             to_string(whole.shape));
    whole.pieces.insert(whole.pieces.end(), entry->pieces.begin(), entry->pieces.end());
  }
  for (TensorEntry& tensor : tensors)
    std::ranges::sort(tensor.pieces, [](const Piece& a, const Piece& b) {
      return std::tie(a.box.offset, a.file) < std::tie(b.box.offset, b.file);
    });
  return tensors;
}

/// Both lists in the same order, one entry a tensor.
Expected<void> check_expected(const std::vector<TensorEntry>& tensors,
                              const std::vector<ExpectedTensor>& expected) {
  std::vector<const ExpectedTensor*> wanted;
  for (const ExpectedTensor& e : expected) wanted.push_back(&e);
  const auto key = [](const auto& t) { return std::tie(t.item, t.name); };
  std::ranges::sort(wanted, [&](const auto* a, const auto* b) { return key(*a) < key(*b); });
  auto next = wanted.begin();
  for (const TensorEntry& t : tensors) {
    if (next != wanted.end() && key(**next) < key(t)) break;  // that one is missing
    if (next == wanted.end() || key(t) < key(**next))
      return fail(Code::InvalidArgument,
                  describe(t.item, t.name) + ": written, but not expected (or expected once only)");
    if ((*next)->shape != t.shape)
      return fail(Code::InvalidArgument, describe(t.item, t.name) + ": its shape is " +
                                             to_string(t.shape) + ", expected " +
                                             to_string((*next)->shape));
    ++next;
  }
  if (next != wanted.end())
    return fail(Code::InvalidArgument,
                describe((*next)->item, (*next)->name) + ": no rank has written it");
  return {};
}

/// A shard that its rank has reported must be seen from here too, whole (a lagging shared disk).
Expected<void> check_size(const fs::path& partial_dir, const FileEntry& entry, Disk& disk) {
  WEFT_TRY_ASSIGN(const auto file, disk.open(partial_dir / entry.path));
  WEFT_TRY_ASSIGN(const std::uint64_t size, file->size());
  if (size == entry.bytes) return {};
  return fail(Code::Corrupt, (partial_dir / entry.path).string() + " has " + std::to_string(size) +
                                 " bytes, its rank wrote " + std::to_string(entry.bytes));
}

Expected<void> check_sizes(const fs::path& partial_dir, const Manifest& manifest, Disk& disk) {
  for (const FileEntry& entry : manifest.files)
    if (entry.path != kStateFile) WEFT_TRY(check_size(partial_dir, entry, disk));
  return {};
}

/// A stray shard would be read by readers that take every file of a folder.
Expected<std::set<std::string>> remove_strays(const fs::path& partial_dir, const Manifest& manifest,
                                              Disk& disk) {
  std::set<std::string> folders;
  for (const FileEntry& file : manifest.files)
    folders.insert(file.path.substr(0, file.path.find('/')));
  WEFT_TRY_ASSIGN(const auto names, disk.names_in(partial_dir));
  for (const std::string& name : names)
    if (!folders.contains(name)) WEFT_TRY(disk.remove_tree(partial_dir / name));
  for (const std::string& folder : folders) {
    const auto files = disk.names_in(partial_dir / folder);
    if (!files && files.error().code == Code::NotFound) continue;  // all of it is on other nodes
    if (!files) return tl::unexpected(files.error());
    for (const std::string& file : *files)
      if (!manifest.find_file(folder + "/" + file))
        WEFT_TRY(disk.remove_tree(partial_dir / folder / file));
  }
  return folders;
}

/// Everything inside the directory, the manifest last.
Expected<void> write_manifest(const fs::path& partial_dir, const std::string& state_text,
                              const Manifest& manifest, Disk& disk) {
  WEFT_TRY_ASSIGN(const std::string text, to_json(manifest));
  const fs::path state = partial_dir / kStateFile;
  WEFT_TRY(disk.make_directories(state.parent_path()));
  WEFT_TRY(write_text(disk, state, state_text));
  WEFT_TRY_ASSIGN(const auto folders, remove_strays(partial_dir, manifest, disk));
  WEFT_TRY(write_text(disk, partial_dir / kChecksumsFile, format_checksums(manifest, text)));
  for (const std::string& folder : folders)
    if (const auto synced = disk.sync_directory(partial_dir / folder);
        !synced && synced.error().code != Code::NotFound)
      return synced;
  WEFT_TRY(disk.sync_directory(partial_dir));
  const fs::path temporary = partial_dir / (std::string(kManifestFile) + ".tmp");
  WEFT_TRY(write_text(disk, temporary, text));
  WEFT_TRY(disk.rename(temporary, partial_dir / kManifestFile));
  return disk.sync_directory(partial_dir);
}

Expected<void> give_final_name(const fs::path& ckpt_dir, const fs::path& partial_dir,
                               const fs::path& final_dir, Disk& disk) {
  const bool replaces = disk.names_in(final_dir).has_value();
  // An old checkpoint of the same step (damaged, or from before a fall-back) becomes a partial one
  // in the same instant; prune removes it.
  if (replaces)
    WEFT_TRY(disk.exchange(partial_dir, final_dir));
  else
    WEFT_TRY(disk.rename(partial_dir, final_dir));
  return disk.sync_directory(ckpt_dir);
}

Expected<void> move_latest(const fs::path& ckpt_dir, const std::string& name, Disk& disk) {
  const fs::path temporary = ckpt_dir / (std::string(kLatestLink) + ".tmp");
  WEFT_TRY(disk.remove_tree(temporary));
  WEFT_TRY(disk.symlink(name, temporary));
  WEFT_TRY(disk.rename(temporary, ckpt_dir / kLatestLink));
  return disk.sync_directory(ckpt_dir);
}

PruneRule rule_of(const ManifestInfo& info) {
  return {info.keep, info.attempt, info.step, info.keep_every_steps, info.keep_every_seconds};
}

}  // namespace

Expected<fs::path> prepare(const fs::path& ckpt_dir, std::uint64_t step, std::uint64_t attempt,
                           Disk& disk) {
  WEFT_TRY(disk.make_directories(ckpt_dir));
  const fs::path partial = ckpt_dir / partial_name(step, attempt);
  const PruneRule rule{.keep = 1, .attempt = attempt, .step = step};
  WEFT_TRY_ASSIGN(const auto entries, list_names(ckpt_dir, disk));
  for (const Entry& entry : entries)
    if (entry.state == EntryState::Partial && is_stale(entry, rule) && entry.directory != partial)
      WEFT_TRY(disk.remove_tree(entry.directory));
  WEFT_TRY(disk.make_directories(partial));
  return partial;
}

Expected<Manifest> assemble(const ManifestInfo& info, std::span<const ShardReport> reports) {
  WEFT_TRY(check_ranks(reports));
  Manifest m;
  static_cast<Provenance&>(m) = info;
  WEFT_TRY_ASSIGN(m.tensors, merge_tensors(reports));
  WEFT_TRY(check_expected(m.tensors, info.expected));
  for (const ShardReport& report : reports)
    m.files.insert(m.files.end(), report.files.begin(), report.files.end());
  m.files.push_back({kStateFile, info.state.size(), hash_of(info.state)});
  std::sort(m.files.begin(), m.files.end(),
            [](const FileEntry& a, const FileEntry& b) { return a.path < b.path; });
  WEFT_TRY(validate(m));
  return m;
}

Expected<Committed> commit(const fs::path& ckpt_dir, const fs::path& partial_dir,
                           const ManifestInfo& info, std::span<const ShardReport> reports,
                           Disk& disk) {
  const std::string name = directory_name(info.step);
  const std::string what = "checkpoint " + name;
  auto manifest = assemble(info, reports);
  if (!manifest) return fail_in(what, manifest.error());
  WEFT_TRY(check_sizes(partial_dir, *manifest, disk));
  WEFT_TRY(write_manifest(partial_dir, info.state, *manifest, disk));
  Committed committed{std::move(*manifest), ckpt_dir / name, {}, {}};
  WEFT_TRY(give_final_name(ckpt_dir, partial_dir, committed.directory, disk));
  // From here on the checkpoint exists, whatever happens; and nothing is pruned while `latest` may
  // still point to it.
  if (auto moved = move_latest(ckpt_dir, name, disk); !moved) {
    committed.warnings.push_back("latest was not moved: " + moved.error().message);
    return committed;
  }
  auto pruned = prune(ckpt_dir, rule_of(info), disk);
  if (pruned)
    committed.pruned = std::move(*pruned);
  else
    committed.warnings.push_back("old checkpoints were not pruned: " + pruned.error().message);
  return committed;
}

Expected<fs::path> commit_part(const fs::path& ckpt_dir, const fs::path& partial_dir,
                               const Manifest& manifest, const std::string& state,
                               std::span<const std::string> held, int keep, Disk& disk) {
  const FileEntry* const state_entry = manifest.find_file(kStateFile);
  if (state_entry == nullptr || state_entry->hash != hash_of(state))
    return fail(Code::Corrupt, "the trainer's state is not what the manifest says");
  for (const std::string& path : held) {
    const FileEntry* const entry = manifest.find_file(path);
    if (entry == nullptr) return fail(Code::Corrupt, path + " is not in the manifest");
    WEFT_TRY(check_size(partial_dir, *entry, disk));
  }
  WEFT_TRY(write_manifest(partial_dir, state, manifest, disk));
  const fs::path final_dir = ckpt_dir / directory_name(manifest.step);
  WEFT_TRY(give_final_name(ckpt_dir, partial_dir, final_dir, disk));
  WEFT_TRY_ASSIGN(const auto entries, list_names(ckpt_dir, disk));
  int kept = 0;
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry)
    if (entry->state != EntryState::Partial && ++kept > keep)
      WEFT_TRY(remove_checkpoint(ckpt_dir, entry->name, disk));
  return final_dir;
}

}  // namespace weft::trainer::checkpoint
