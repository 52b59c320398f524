#include "runtime/cluster/cluster_file.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <set>

#include "base/files.h"
#include "base/text.h"
#include "runtime/job/yaml.h"
#include "scheduler/cluster/fields.h"
#include "scheduler/cluster/problems.h"

namespace weft::runtime {
namespace {

using scheduler::Cluster;
using scheduler::ClusterField;
using scheduler::Figure;
using scheduler::Unit;

constexpr std::size_t kBytesMax = std::size_t{1} << 20;
constexpr const char* kNoSource =
    "[VALUE, where it comes from]: a data sheet, a paper, a measurement";

/// "gpu.bf16" -> {"gpu", "bf16"}.
std::pair<std::string, std::string> split_path(std::string_view path) {
  const std::size_t dot = path.find('.');
  return {std::string(path.substr(0, dot)), std::string(path.substr(dot + 1))};
}

std::vector<std::string> group_names() {
  std::vector<std::string> names = {"name", "exchange"};
  for (const ClusterField& field : scheduler::cluster_fields())
    if (const std::string group = split_path(field.path).first;
        std::ranges::find(names, group) == names.end())
      names.push_back(group);
  return names;
}

/// As a whole path: gpu.memory is not mentioned by gpu.memory_bandwidth.
bool mentions(std::string_view text, std::string_view path) {
  for (std::size_t at = text.find(path); at != std::string_view::npos;
       at = text.find(path, at + 1)) {
    const std::size_t end = at + path.size();
    if (end == text.size() || (std::isalnum(static_cast<unsigned char>(text[end])) == 0 &&
                               text[end] != '_' && text[end] != '.'))
      return true;
  }
  return false;
}

class Reader {
 public:
  Reader(std::string_view text, std::string file) : text_(text), file_(std::move(file)) {}

  LoadedCluster run() {
    YamlDocument document = parse_yaml(text_, file_);
    result_.diagnostics = std::move(document.errors);
    const bool broken = !result_.diagnostics.empty();
    if (document.root.kind == YamlNode::Kind::Map)
      for (const YamlEntry& entry : document.root.entries) read_group(entry);
    else if (!broken)
      error(document.root.at, "a cluster description is groups of figures",
            "start from one of deploy/clusters");
    if (!broken && result_.cluster.name.empty() && !failed_.contains("name"))
      error({}, "name is missing", "such as name: h800-2048");
    if (!broken) add_problems();
    sort_by_place(result_.diagnostics);
    return std::move(result_);
  }

 private:
  void error(const Position& at, std::string message, std::string hint) {
    result_.diagnostics.push_back({Severity::Error, file_, at,
                                   at.line > 0 ? line_of(text_, at.line) : "", std::move(message),
                                   std::move(hint), ""});
  }

  void read_group(const YamlEntry& entry) {
    places_[entry.key] = entry.key_at;
    if (entry.key == "name") {
      read_name(entry, "name", result_.cluster.name);
      return;
    }
    if (entry.key == "exchange") {
      read_exchange(entry);
      return;
    }
    const std::vector<std::string> names = group_names();
    if (std::ranges::find(names, entry.key) == names.end()) {
      const std::string near = closest(entry.key, names);
      error(entry.key_at, "unknown group '" + entry.key + "'",
            near.empty() ? "known here: " + join(names, ", ") : "did you mean '" + near + "'?");
      return;
    }
    if (entry.value.kind != YamlNode::Kind::Map) {
      error(entry.value.at, "'" + entry.key + "' is a group of figures, not a value",
            "put its figures below it, indented by two spaces");
      return;
    }
    for (const YamlEntry& inner : entry.value.entries) read_figure_entry(entry.key, inner);
  }

  void read_name(const YamlEntry& entry, const std::string& path, std::string& to) {
    if (entry.value.kind == YamlNode::Kind::Scalar && !entry.value.text.empty()) {
      to = entry.value.text;
      return;
    }
    failed_.insert(path);
    error(entry.value.at, "'" + path + "' must be a word", "such as " + path + ": H800");
  }

  void read_figure_entry(const std::string& group, const YamlEntry& entry) {
    const std::string path = group + "." + entry.key;
    places_[path] = entry.value.at;
    if (path == "gpu.name") {
      read_name(entry, path, result_.cluster.gpu.name);
      return;
    }
    if (const ClusterField* field = scheduler::find_cluster_field(path)) {
      if (!read_figure(path, field->unit, entry.value, field->slot(result_.cluster)))
        failed_.insert(path);
      return;
    }
    std::vector<std::string> siblings;
    for (const ClusterField& other : scheduler::cluster_fields())
      if (const auto [g, leaf] = split_path(other.path); g == group) siblings.push_back(leaf);
    const std::string near = closest(entry.key, siblings);
    error(entry.key_at, "unknown figure '" + entry.key + "' in '" + group + "'",
          near.empty() ? "known here: " + join(siblings, ", ") : "did you mean '" + near + "'?");
  }

  /// [VALUE, source].
  bool read_figure(const std::string& path, Unit unit, const YamlNode& node, Figure& to) {
    const bool scalar = node.kind == YamlNode::Kind::Scalar;
    const bool pair = node.kind == YamlNode::Kind::List && node.items.size() == 2 &&
                      node.items[0].kind == YamlNode::Kind::Scalar &&
                      node.items[1].kind == YamlNode::Kind::Scalar;
    if (!scalar && !pair) {
      error(node.at, "'" + path + "' must be a figure and its source", kNoSource);
      return false;
    }
    const YamlNode& value = scalar ? node : node.items[0];
    const auto number = scheduler::parse_figure(unit, value.text);
    bool good = true;
    if (!number) {
      const std::string& message = number.error().message;
      const std::size_t line = message.find('\n');
      error(value.at, path + ": " + message.substr(0, line), message.substr(line + 1));
      good = false;
    }
    if (scalar || node.items[1].text.empty()) {
      error(node.at, "'" + path + "' has no source", kNoSource);
      good = false;
    }
    if (good) to = {*number, node.items[1].text};
    return good;
  }

  void read_exchange(const YamlEntry& entry) {
    if (entry.value.kind != YamlNode::Kind::List) {
      error(entry.value.at, "'exchange' is a list",
            "such as - {ranks: 64, dispatch: [51 GB/s, DeepEP], combine: [50 GB/s, DeepEP]}");
      failed_.insert("exchange");
      return;
    }
    for (std::size_t i = 0; i < entry.value.items.size(); ++i) {
      const YamlNode& item = entry.value.items[i];
      const std::string path = "exchange." + std::to_string(i);
      places_[path] = item.at;
      scheduler::ExchangeRate& rate = result_.cluster.exchange.emplace_back();
      if (item.kind != YamlNode::Kind::Map) {
        error(item.at, "'" + path + "' must be {ranks, dispatch, combine}", "see deploy/clusters");
        failed_.insert(path);
        continue;
      }
      for (const YamlEntry& inner : item.entries) {
        const std::string full = path + "." + inner.key;
        if (inner.key == "ranks") {
          const std::string& text = inner.value.text;
          const auto [end, code] =
              std::from_chars(text.data(), text.data() + text.size(), rate.ranks);
          if (code != std::errc() || end != text.data() + text.size()) {
            error(inner.value.at, full + " is not a whole number", "such as 64");
            failed_.insert(path);
          }
        } else if (inner.key == "dispatch" || inner.key == "combine") {
          if (!read_figure(full, Unit::Bandwidth, inner.value,
                           inner.key == "dispatch" ? rate.dispatch : rate.combine))
            failed_.insert(path);
        } else {
          error(inner.key_at, "unknown figure '" + inner.key + "' in '" + path + "'",
                "known here: ranks, dispatch, combine");
        }
      }
    }
  }

  /// Rules over figures that were refused already say nothing more.
  void add_problems() {
    for (const scheduler::ClusterProblem& problem : scheduler::problems(result_.cluster)) {
      if (failed_.contains(problem.path)) continue;
      const auto mentions_failed = std::ranges::any_of(
          failed_, [&](const std::string& path) { return mentions(problem.message, path); });
      if (mentions_failed) continue;
      const auto exact = places_.find(problem.path);
      const auto group = places_.find(split_path(problem.path).first);
      error(exact != places_.end()   ? exact->second
            : group != places_.end() ? group->second
                                     : Position{},
            problem.message, problem.hint);
    }
  }

  std::string_view text_;
  std::string file_;
  LoadedCluster result_;
  std::map<std::string, Position> places_;
  std::set<std::string> failed_;
};

std::string figure_yaml(Unit unit, const Figure& figure) {
  return "[" + yaml_scalar(scheduler::figure_text(unit, figure.value)) + ", " +
         yaml_scalar(figure.source) + "]";
}

}  // namespace

LoadedCluster load_cluster_text(std::string_view text, const std::string& file) {
  return Reader(text, file).run();
}

LoadedCluster load_cluster(const std::filesystem::path& path) {
  const auto text = read_file(path, kBytesMax);
  if (text) return load_cluster_text(*text, path.string());
  LoadedCluster result;
  result.diagnostics.push_back({Severity::Error,
                                path.string(),
                                {},
                                "",
                                text.error().message,
                                "the argument is a cluster description; see deploy/clusters",
                                ""});
  return result;
}

std::string cluster_yaml(const Cluster& cluster, const std::string& comment) {
  std::string out = comment + "name: " + yaml_scalar(cluster.name) + "\n";
  std::string group;
  for (const ClusterField& field : scheduler::cluster_fields()) {
    const Figure& figure = field.of(cluster);
    if (!figure.given()) continue;
    const auto [g, leaf] = split_path(field.path);
    if (g != group) {
      out += "\n" + g + ":\n";
      if (g == "gpu") out += "  name: " + yaml_scalar(cluster.gpu.name) + "\n";
      group = g;
    }
    out += "  " + leaf + ": " + figure_yaml(field.unit, figure) + "\n";
  }
  if (cluster.exchange.empty()) return out;
  out += "\nexchange:\n";
  for (const scheduler::ExchangeRate& rate : cluster.exchange)
    out += "  - {ranks: " + std::to_string(rate.ranks) +
           ", dispatch: " + figure_yaml(Unit::Bandwidth, rate.dispatch) +
           ", combine: " + figure_yaml(Unit::Bandwidth, rate.combine) + "}\n";
  return out;
}

}  // namespace weft::runtime
