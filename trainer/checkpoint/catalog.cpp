#include "trainer/checkpoint/catalog.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace weft::trainer::checkpoint {
namespace {

constexpr std::string_view kStepPrefix = "step-";
constexpr std::string_view kPartialMark = ".partial-a";
constexpr std::string_view kPrunedMark = ".pruned";

std::optional<std::uint64_t> number(std::string_view digits) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

/// What the name alone says; nothing when it is not ours. Complete means: still to be looked into.
std::optional<Entry> entry_of_name(const fs::path& ckpt_dir, const std::string& name) {
  std::string_view rest = name;
  if (rest.rfind(kStepPrefix, 0) != 0) return std::nullopt;
  rest.remove_prefix(kStepPrefix.size());
  Entry entry;
  entry.directory = ckpt_dir / name;
  entry.name = name;
  entry.state = EntryState::Complete;
  if (rest.ends_with(kPrunedMark)) {
    entry.state = EntryState::Partial;
    rest.remove_suffix(kPrunedMark.size());
  }
  if (const auto at = rest.find(kPartialMark); at != rest.npos) {
    const auto attempt = number(rest.substr(at + kPartialMark.size()));
    if (!attempt) return std::nullopt;
    entry.state = EntryState::Partial;
    entry.attempt = *attempt;
    rest = rest.substr(0, at);
  }
  const auto step = number(rest);
  if (!step) return std::nullopt;
  entry.step = *step;
  return entry;
}

void fill(Entry& entry, const Expected<Manifest>& manifest) {
  if (!manifest) {
    entry.state = EntryState::CorruptManifest;
    entry.reason = manifest.error().message;
  } else if (manifest->step != entry.step) {
    entry.state = EntryState::CorruptManifest;
    entry.reason = "the manifest is of step " + std::to_string(manifest->step);
  } else {
    entry.attempt = manifest->attempt;
    entry.bytes = manifest->bytes();
    entry.wall_time = manifest->wall_time;
  }
}

}  // namespace

std::string directory_name(std::uint64_t step) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%09llu", static_cast<unsigned long long>(step));
  return std::string(kStepPrefix) + digits;
}

std::string partial_name(std::uint64_t step, std::uint64_t attempt) {
  return directory_name(step) + std::string(kPartialMark) + std::to_string(attempt);
}

std::string pruned_name(const std::string& name) { return name + std::string(kPrunedMark); }

bool is_pruned_name(std::string_view name) { return name.ends_with(kPrunedMark); }

const char* to_string(EntryState state) {
  switch (state) {
    case EntryState::Complete:
      return "complete";
    case EntryState::Partial:
      return "partial";
    case EntryState::CorruptManifest:
      return "corrupt-manifest";
    case EntryState::Incomplete:
      return "incomplete";
  }
  return "?";
}

void look_into(Entry& entry, Disk& disk) { fill(entry, load_manifest(entry.directory, disk)); }

std::string examine_entry(Entry& entry, Mode mode, Disk& disk) {
  const auto examined = examine(entry.directory, mode, disk);
  fill(entry, examined ? examined->manifest : tl::unexpected(examined.error()));
  return entry.state == EntryState::CorruptManifest ? entry.reason : examined->report.summary();
}

Expected<std::vector<Entry>> list_names(const fs::path& ckpt_dir, Disk& disk) {
  const auto names = disk.names_in(ckpt_dir);
  if (!names && names.error().code == Code::NotFound) return std::vector<Entry>();
  if (!names) return tl::unexpected(names.error());
  std::vector<Entry> entries;
  for (const std::string& name : *names)
    if (auto entry = entry_of_name(ckpt_dir, name)) entries.push_back(std::move(*entry));
  std::ranges::stable_sort(entries, {}, &Entry::step);
  return entries;
}

Expected<std::vector<Entry>> list(const fs::path& ckpt_dir, Disk& disk) {
  WEFT_TRY_ASSIGN(std::vector<Entry> entries, list_names(ckpt_dir, disk));
  for (Entry& entry : entries)
    if (entry.state == EntryState::Complete) look_into(entry, disk);
  return entries;
}

Expected<std::vector<Entry>> list(const fs::path& ckpt_dir, Mode mode, Disk& disk) {
  WEFT_TRY_ASSIGN(std::vector<Entry> entries, list_names(ckpt_dir, disk));
  for (Entry& entry : entries) {
    if (entry.state != EntryState::Complete) continue;
    std::string reason = examine_entry(entry, mode, disk);
    if (entry.state != EntryState::Complete || reason.empty()) continue;
    entry.state = EntryState::Incomplete;
    entry.reason = std::move(reason);
  }
  return entries;
}

Expected<Choice> newest_complete(const fs::path& ckpt_dir, Mode mode, Disk& disk) {
  return newest_complete(ckpt_dir, mode, {}, disk);
}

Expected<Choice> newest_complete(const fs::path& ckpt_dir, Mode mode,
                                 std::span<const Skipped> damaged, Disk& disk) {
  WEFT_TRY_ASSIGN(std::vector<Entry> entries, list_names(ckpt_dir, disk));
  std::reverse(entries.begin(), entries.end());
  Choice choice;
  for (Entry& entry : entries) {
    if (entry.state == EntryState::Partial) {
      choice.skipped.push_back({entry.name, "was never committed"});
      continue;
    }
    const auto known = std::ranges::find(damaged, entry.name, &Skipped::name);
    std::string reason = known != damaged.end() ? known->reason : examine_entry(entry, mode, disk);
    if (reason.empty()) {
      choice.chosen = std::move(entry);
      break;
    }
    choice.skipped.push_back({entry.name, std::move(reason)});
  }
  return choice;
}

}  // namespace weft::trainer::checkpoint
