#include "trainer/checkpoint/report_file.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>

namespace weft::trainer::checkpoint {
namespace {

constexpr std::string_view kPrefix = "rank-";
constexpr std::string_view kSuffix = ".report";
constexpr std::string_view kWritten = "written ", kFailed = "failed ";
constexpr std::uint64_t kReportBytesMax = std::uint64_t{256} << 20;

std::string file_name(int rank) {
  char digits[16];
  std::snprintf(digits, sizeof digits, "%05d", rank);
  return std::string(kPrefix) + digits + std::string(kSuffix);
}

std::optional<int> rank_of(std::string_view name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kSuffix.size());
  int rank = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), rank);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return rank;
}

}  // namespace

Expected<void> leave_report(const fs::path& partial_dir, const std::string& mark, int rank,
                            const Expected<ShardReport>& report, Disk& disk) {
  const fs::path folder = partial_dir / kReportsFolder;
  WEFT_TRY(disk.make_directories(folder));
  const fs::path path = folder / file_name(rank);
  fs::path temporary = path;
  temporary += ".tmp";
  const std::string text = report ? std::string(kWritten) + mark + "\n" + report->to_json()
                                  : std::string(kFailed) + mark + "\n" + report.error().message;
  WEFT_TRY(write_text(disk, temporary, text));
  return disk.rename(temporary, path);
}

Expected<bool> ReportCollector::look(Disk& disk) {
  const auto names = disk.names_in(directory_ / kReportsFolder);
  if (!names && names.error().code == Code::NotFound) return false;
  if (!names) return tl::unexpected(names.error());
  for (const std::string& name : *names) {
    const auto rank = rank_of(name);
    if (!rank || !wanted_.contains(*rank) || ranks_.contains(*rank)) continue;
    const fs::path path = directory_ / kReportsFolder / name;
    WEFT_TRY_ASSIGN(const std::string text, read_text(disk, path, kReportBytesMax));
    const std::size_t line = std::min(text.find('\n'), text.size());
    const std::string first = text.substr(0, line),
                      rest = text.substr(std::min(line + 1, text.size()));
    if (first == std::string(kFailed) + mark_)
      return fail(Code::Io, "rank " + std::to_string(*rank) + ": " + rest);
    if (first != std::string(kWritten) + mark_) continue;  // of a save that died here
    auto report = ShardReport::from_json(rest);
    if (!report) return fail_in(path.string(), report.error());
    if (report->rank != *rank)
      return fail(Code::Corrupt,
                  path.string() + " is the report of rank " + std::to_string(report->rank));
    ranks_.insert(*rank);
    reports_.push_back(std::move(*report));
  }
  if (ranks_.size() < wanted_.size()) return false;
  std::ranges::sort(reports_, {}, &ShardReport::rank);
  return true;
}

std::string ReportCollector::missing() const {
  constexpr int kShown = 8;
  std::string text;
  int shown = 0;
  for (const int rank : wanted_)
    if (shown < kShown && !ranks_.contains(rank))
      text += (shown++ ? ", " : "") + std::to_string(rank);
  const int more = static_cast<int>(wanted_.size()) - num_read() - shown;
  return more > 0 ? text + " and " + std::to_string(more) + " more" : text;
}

}  // namespace weft::trainer::checkpoint
