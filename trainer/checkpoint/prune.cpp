#include "trainer/checkpoint/prune.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <map>

namespace weft::trainer::checkpoint {
namespace {

/// Seconds since 1970 of "2026-01-31T12:00:00..."; nothing when it is no such time.
std::optional<double> epoch_seconds(const std::string& text) {
  std::tm utc{};
  if (std::sscanf(text.c_str(), "%d-%d-%dT%d:%d:%d", &utc.tm_year, &utc.tm_mon, &utc.tm_mday,
                  &utc.tm_hour, &utc.tm_min, &utc.tm_sec) != 6)
    return std::nullopt;
  utc.tm_year -= 1900;
  utc.tm_mon -= 1;
  return static_cast<double>(::timegm(&utc));
}

struct Seen {
  Entry entry;
  bool whole = false;  // looked at with all of its files, and complete
};

/// Newest first, each manifest read once. With all files only until `keep` are whole that are not
/// pinned: no rule asks that of older ones.
Expected<std::vector<Seen>> look_around(const fs::path& ckpt_dir, int keep,
                                        const std::set<std::string>& pinned, Disk& disk) {
  WEFT_TRY_ASSIGN(std::vector<Entry> entries, list_names(ckpt_dir, disk));
  std::vector<Seen> seen;
  int whole = 0;
  for (auto at = entries.rbegin(); at != entries.rend(); ++at) {
    Seen& one = seen.emplace_back(Seen{std::move(*at), false});
    if (one.entry.state == EntryState::Partial) continue;
    if (whole < keep && !pinned.contains(one.entry.name))
      whole += one.whole = examine_entry(one.entry, Mode::Size, disk).empty();
    else
      look_into(one.entry, disk);
  }
  return seen;
}

/// The names of the first complete checkpoint of each span of time. The first of a span is never
/// removed, so it stays the first.
std::set<std::string> firsts_of_spans(const std::vector<Seen>& newest_first, double span) {
  std::map<double, std::string> firsts;
  if (span > 0)
    for (const auto& [entry, whole] : newest_first) {
      if (entry.state != EntryState::Complete) continue;
      if (const auto time = epoch_seconds(entry.wall_time))
        firsts[std::floor(*time / span)] = entry.name;
    }
  std::set<std::string> names;
  for (auto& [span_index, name] : firsts) names.insert(std::move(name));
  return names;
}

}  // namespace

bool is_stale(const Entry& partial, const PruneRule& rule) {
  if (is_pruned_name(partial.name)) return true;
  if (partial.attempt == rule.attempt) return partial.step <= rule.step;
  return partial.attempt + 1 < rule.attempt;
}

Expected<std::vector<Fate>> plan_prune(const fs::path& ckpt_dir, const PruneRule& rule,
                                       Disk& disk) {
  WEFT_TRY_ASSIGN(const std::set<std::string> pinned, pins(ckpt_dir, disk));
  const int keep = std::max(rule.keep, 1);
  WEFT_TRY_ASSIGN(std::vector<Seen> seen, look_around(ckpt_dir, keep, pinned, disk));
  const std::set<std::string> firsts = firsts_of_spans(seen, rule.keep_every_seconds);
  std::vector<Fate> fates;
  int kept = 0;
  for (auto& [found, whole] : seen) {
    const Entry& entry = found;  // clang lets no lambda take a structured binding
    const bool whole_one = whole;
    const auto fate = [&]() -> std::pair<bool, std::string> {
      if (entry.state == EntryState::Partial)
        return is_stale(entry, rule) ? std::pair(true, "never committed")
                                     : std::pair(false, "may still be being written");
      if (pinned.contains(entry.name)) return {false, "pinned"};
      if (entry.step == rule.step) return {false, "the one just saved"};
      if (kept < keep)
        return {false, whole_one ? "one of the newest " + std::to_string(keep)
                                 : "not whole, but newer than what is kept"};
      if (entry.state != EntryState::Complete) return {true, "damaged"};
      if (rule.keep_every_steps > 0 && entry.step % rule.keep_every_steps == 0)
        return {false, "a multiple of " + std::to_string(rule.keep_every_steps) + " steps"};
      if (firsts.contains(entry.name)) return {false, "the first of its span of time"};
      return {true, "older than the newest " + std::to_string(keep)};
    }();
    kept += whole;
    fates.push_back({std::move(found), fate.first, fate.second});
  }
  return fates;
}

Expected<std::vector<std::string>> prune(const fs::path& ckpt_dir, const PruneRule& rule,
                                         Disk& disk) {
  WEFT_TRY_ASSIGN(const std::vector<Fate> fates, plan_prune(ckpt_dir, rule, disk));
  std::vector<std::string> removed;
  for (const Fate& fate : fates) {
    if (!fate.remove) continue;
    WEFT_TRY(remove_checkpoint(ckpt_dir, fate.entry.name, disk));
    removed.push_back(fate.entry.name);
  }
  return removed;
}

Expected<void> remove_checkpoint(const fs::path& ckpt_dir, const std::string& name, Disk& disk) {
  const fs::path from = ckpt_dir / name;
  if (is_pruned_name(name)) return disk.remove_tree(from);
  const fs::path aside = ckpt_dir / pruned_name(name);
  WEFT_TRY(disk.remove_tree(aside));
  WEFT_TRY(disk.rename(from, aside));
  WEFT_TRY(disk.sync_directory(ckpt_dir));
  return disk.remove_tree(aside);
}

Expected<std::set<std::string>> pins(const fs::path& ckpt_dir, Disk& disk) {
  const auto names = disk.names_in(ckpt_dir / kPinsFolder);
  if (!names && names.error().code == Code::NotFound) return std::set<std::string>();
  if (!names) return tl::unexpected(names.error());
  return std::set<std::string>(names->begin(), names->end());
}

Expected<void> pin(const fs::path& ckpt_dir, const std::string& name, Disk& disk) {
  WEFT_TRY_ASSIGN(const std::vector<Entry> entries, list(ckpt_dir, disk));
  const auto found = std::ranges::find_if(entries, [&](const Entry& entry) {
    return entry.name == name && entry.state == EntryState::Complete;
  });
  if (found == entries.end())
    return fail(Code::NotFound,
                ckpt_dir.string() + " has no complete checkpoint '" + name + "' to pin");
  WEFT_TRY(disk.make_directories(ckpt_dir / kPinsFolder));
  WEFT_TRY(write_text(disk, ckpt_dir / kPinsFolder / name, ""));
  return disk.sync_directory(ckpt_dir / kPinsFolder);
}

Expected<void> unpin(const fs::path& ckpt_dir, const std::string& name, Disk& disk) {
  WEFT_TRY_ASSIGN(const std::set<std::string> pinned, pins(ckpt_dir, disk));
  if (!pinned.contains(name)) return {};
  WEFT_TRY(disk.remove_tree(ckpt_dir / kPinsFolder / name));
  return disk.sync_directory(ckpt_dir / kPinsFolder);
}

}  // namespace weft::trainer::checkpoint
