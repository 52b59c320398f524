#include <algorithm>
#include <charconv>
#include <optional>

#include "base/text.h"
#include "base/units.h"
#include "runtime/job/yaml.h"
#include "runtime/rehearse/faults.h"

namespace weft::runtime {

namespace {

const std::vector<std::string> kKeys = {"at", "kind", "node", "device", "factor", "for"};

constexpr double kLongest = 366 * 86400.0;  // seconds; no rehearsal is longer

/// What a fault of this kind takes beside `at`: another key would be read and do nothing.
std::vector<std::string> keys_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::NodeDeath:
      return {"node", "for"};
    case FaultKind::WorkerCrash:
    case FaultKind::Hang:
      return {"node", "device"};
    case FaultKind::Straggler:
      return {"node", "device", "factor", "for"};
    case FaultKind::LinkFlap:
      return {"node", "device", "for"};
    case FaultKind::Imbalance:
      return {"factor", "for"};
    case FaultKind::CorruptCheckpoint:
      break;
  }
  return {};
}

std::vector<std::string> kind_names() {
  std::vector<std::string> names;
  for (int k = 0; k < kNumFaultKinds; ++k) names.emplace_back(to_string(static_cast<FaultKind>(k)));
  return names;
}

class Reader {
 public:
  Reader(std::string_view text, std::string file, const FaultGrid& grid)
      : text_(text), file_(std::move(file)), grid_(grid) {}

  FaultScript run() {
    YamlDocument document = parse_yaml(text_, file_);
    script_.diagnostics = std::move(document.errors);
    if (!script_.diagnostics.empty()) return std::move(script_);
    if (document.root.kind != YamlNode::Kind::List)
      error(document.root.at, "a fault script is a list",
            "such as - {at: 2h, kind: node_death, node: 17}");
    for (const YamlNode& item : document.root.items) read(item);
    std::ranges::stable_sort(script_.faults, {}, &Fault::at);
    sort_by_place(script_.diagnostics);
    return std::move(script_);
  }

 private:
  void error(const Position& at, std::string message, std::string hint) {
    script_.diagnostics.push_back({Severity::Error, file_, at,
                                   at.line > 0 ? line_of(text_, at.line) : "", std::move(message),
                                   std::move(hint), ""});
  }

  void read(const YamlNode& item) {
    if (item.kind != YamlNode::Kind::Map)
      return error(item.at, "a fault is a group of values",
                   "such as {at: 2h, kind: hang, node: 3}");
    for (const YamlEntry& entry : item.entries)
      if (std::ranges::find(kKeys, entry.key) == kKeys.end())
        error(entry.key_at, "unknown key '" + entry.key + "'", "known here: " + join(kKeys, ", "));
    Fault fault;
    if (const auto kind = kind_of(item)) {
      fault = typical_fault(*kind);
      check_keys(item, *kind);
    }
    if (const auto at = duration(item, "at", true)) fault.at = *at;
    if (fault.at > grid_.horizon)
      error(item.at, "it happens after the rehearsal's end", "rehearse longer with --days");
    if (const auto length = duration(item, "for", false)) {
      fault.seconds = *length;
      if (!(*length > 0) || *length > kLongest)
        error(find(item, "for")->value.at, "for must be more than 0 and at most 366d",
              "such as for: 40m; what lasts beyond the rehearsal's end may be as long as that");
    }
    fault.node = number(item, "node", grid_.nodes);
    fault.device = number(item, "device", grid_.devices);
    if (const YamlEntry* entry = find(item, "factor")) {
      const std::string& text = entry->value.text;
      const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), fault.factor);
      if (bad != std::errc() || end != text.data() + text.size() || !(fault.factor >= 1) ||
          fault.factor > 1000)
        error(entry->value.at, "factor must be a number from 1 to 1000", "such as factor: 1.3");
    }
    script_.faults.push_back(fault);
  }

  void check_keys(const YamlNode& item, FaultKind kind) {
    const std::vector<std::string> taken = keys_of(kind);
    const std::string name(to_string(kind));
    for (const YamlEntry& entry : item.entries)
      if (entry.key != "at" && entry.key != "kind" &&
          std::ranges::find(kKeys, entry.key) != kKeys.end() &&
          std::ranges::find(taken, entry.key) == taken.end())
        error(entry.key_at, "'" + entry.key + "' means nothing to " + name,
              taken.empty() ? "it takes only at" : "it takes at, " + join(taken, ", "));
    if (!taken.empty() && taken.front() == "node" && find(item, "node") == nullptr)
      error(item.at, "node is missing: which one does " + name + " happen to?", "such as node: 0");
  }

  static const YamlEntry* find(const YamlNode& item, std::string_view key) {
    for (const YamlEntry& entry : item.entries)
      if (entry.key == key) return &entry;
    return nullptr;
  }

  std::optional<FaultKind> kind_of(const YamlNode& item) {
    const YamlEntry* entry = find(item, "kind");
    const std::vector<std::string> names = kind_names();
    if (entry == nullptr) {
      error(item.at, "kind is missing", "one of " + join(names, ", "));
      return std::nullopt;
    }
    const auto found = std::ranges::find(names, entry->value.text);
    if (found == names.end()) {
      error(entry->value.at, "unknown kind '" + entry->value.text + "'",
            "one of " + join(names, ", "));
      return std::nullopt;
    }
    return static_cast<FaultKind>(found - names.begin());
  }

  /// "5h 30m" in seconds.
  std::optional<double> duration(const YamlNode& item, const char* key, bool needed) {
    const YamlEntry* entry = find(item, key);
    if (entry == nullptr) {
      if (needed) error(item.at, std::string(key) + " is missing", "such as at: 2h");
      return std::nullopt;
    }
    double sum = 0;
    std::string_view rest = entry->value.text;
    while (!rest.empty()) {
      const std::size_t space = rest.find(' ');
      const auto part = parse_duration(rest.substr(0, space));
      if (!part) {
        error(entry->value.at, std::string(key) + ": " + part.error().message,
              "such as 45s, 2h or 5h 30m");
        return std::nullopt;
      }
      sum += seconds(*part);
      rest = space == std::string_view::npos ? "" : rest.substr(space + 1);
    }
    return sum;
  }

  int number(const YamlNode& item, const char* key, int limit) {
    const YamlEntry* entry = find(item, key);
    if (entry == nullptr) return 0;
    const std::string& text = entry->value.text;
    int value = -1;
    const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (bad == std::errc() && end == text.data() + text.size() && value >= 0 && value < limit)
      return value;
    error(entry->value.at,
          std::string(key) + " must be a whole number below " + std::to_string(limit),
          std::string("such as ") + key + ": 0");
    return 0;
  }

  std::string_view text_;
  std::string file_;
  const FaultGrid& grid_;
  FaultScript script_;
};

}  // namespace

FaultScript parse_fault_script(std::string_view text, const std::string& file,
                               const FaultGrid& grid) {
  return Reader(text, file, grid).run();
}

}  // namespace weft::runtime
