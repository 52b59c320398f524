#include <algorithm>
#include <charconv>
#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <thread>

#include "base/text.h"
#include "runtime/cli/pattern.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "runtime/store/lease.h"
#include "runtime/store/run_store.h"

namespace weft::cli {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr auto kPoll = std::chrono::milliseconds(200);

/// Files of logs/ by name; worker-3.log belongs to rank 3, others to no rank.
struct LogFile {
  fs::path path;
  int rank = -1;
  std::string label() const { return path.stem().string(); }
};

std::vector<LogFile> log_files(const fs::path& directory, const std::vector<int>& ranks) {
  std::vector<LogFile> files;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    LogFile file{entry->path()};
    const std::string name = file.label();
    if (file.path.extension() != ".log") continue;
    if (name.starts_with("worker-"))
      std::from_chars(name.data() + 7, name.data() + name.size(), file.rank);
    if (ranks.empty() || std::ranges::find(ranks, file.rank) != ranks.end()) files.push_back(file);
  }
  std::ranges::sort(files, {}, [](const LogFile& f) { return std::pair(f.rank, f.path); });
  return files;
}

class Printer {
 public:
  Printer(const LogsOptions& options, Pattern pattern, Io& io)
      : options_(options), pattern_(std::move(pattern)), io_(io) {}

  /// Whole lines that were added since the last look; only the last `tail` of them when tail > 0.
  void print_new(const LogFile& file, int tail) {
    std::ifstream stream(file.path, std::ios::binary);
    std::streamoff& position = positions_[file.path.string()];
    stream.seekg(position);
    std::vector<std::string> lines;
    std::string line;
    while (std::getline(stream, line) && !stream.eof()) {
      position += static_cast<std::streamoff>(line.size()) + 1;
      if (pattern_.found_in(line)) lines.push_back(line);
      if (tail > 0 && lines.size() > static_cast<std::size_t>(tail)) lines.erase(lines.begin());
    }
    for (const std::string& text : lines) print(file, text);
  }

  /// The formats that are one document are printed at the end.
  void finish() {
    if (whole_document()) print_list(io_, options_.format, "logs", records_, {}, "line");
  }

 private:
  void print(const LogFile& file, const std::string& text) {
    if (options_.format == Format::Table) {
      io_.out << file.label() << " | " << text << "\n";
      return;
    }
    const json record = {{"rank", file.rank}, {"file", file.label()}, {"line", text}};
    if (whole_document())
      records_.push_back(record);
    else
      print_list(io_, options_.format, "logs", {record}, {}, "line");
  }
  bool whole_document() const {
    return options_.format == Format::Json || options_.format == Format::Yaml;
  }

  const LogsOptions& options_;
  Pattern pattern_;
  Io& io_;
  std::map<std::string, std::streamoff> positions_;
  std::vector<json> records_;
};

}  // namespace

int verb_logs(const LogsOptions& options, Io& io) {
  const auto root = find_run(options.run);
  if (!root) return report(root.error(), io);
  const auto pattern = Pattern::compile(options.grep);
  if (!pattern) {
    report(pattern.error(), io);
    return kUsage;
  }
  const runtime::RunPaths paths{*root};
  Printer printer(options, *pattern, io);
  const std::vector<LogFile> files = log_files(paths.logs(), options.ranks);
  if (files.empty() && !options.follow)
    return report({Code::NotFound, paths.logs().string() + " holds no log" +
                                       (options.ranks.empty() ? "" : " of these ranks")},
                  io);
  for (const LogFile& file : files) printer.print_new(file, options.lines);
  while (options.follow && io.out.good() && runtime::is_alive(paths)) {
    io.out.flush();
    std::this_thread::sleep_for(kPoll);
    for (const LogFile& file : log_files(paths.logs(), options.ranks)) printer.print_new(file, 0);
  }
  printer.finish();
  return kOk;
}

int verb_events(const EventsOptions& options, Io& io) {
  const auto root = find_run(options.run);
  if (!root) return report(root.error(), io);
  auto events = runtime::read_json_lines(runtime::RunPaths{*root}.events());
  if (!events) return report(events.error(), io);
  if (!options.kind.empty())
    std::erase_if(*events, [&](const json& event) { return cell(event, "kind") != options.kind; });
  const std::vector<Column> columns = {
      {"TIME", [](const json& event) { return cell(event, "time"); }},
      {"KIND", [](const json& event) { return cell(event, "kind"); }},
      {"MESSAGE", [](const json& event) { return cell(event, "message"); }}};
  print_list(io, options.format, "events", *events, columns, "kind");
  return kOk;
}

}  // namespace weft::cli
