#include "runtime/job/load.h"

#include <algorithm>
#include <set>

#include "base/files.h"
#include "base/text.h"
#include "runtime/job/fields.h"
#include "runtime/job/model_file.h"
#include "runtime/job/validate.h"
#include "runtime/job/yaml.h"

namespace weft::runtime {
namespace {

/// set_scalar and check_value say "<message>\n<hint>".
std::pair<std::string, std::string> split_hint(const std::string& text) {
  const std::size_t newline = text.find('\n');
  if (newline == std::string::npos) return {text, ""};
  return {text.substr(0, newline), text.substr(newline + 1)};
}

std::string join_path(const std::string& group, const std::string& key) {
  return group.empty() ? key : group + "." + key;
}

std::string described_group(const std::string& group) {
  return group.empty() ? "at the top of the job" : "in '" + group + "'";
}

/// One source of values: the file, a variable or a --set.
struct Origins {
  Origin::Kind kind;
  std::string file;
  std::string_view text;
};

class Loader {
 public:
  explicit Loader(std::string main_file) : main_file_(std::move(main_file)) {}

  Loaded result;

  void apply_document(std::string_view text, const std::string& file) {
    YamlDocument document = parse_yaml(text, file);
    for (Diagnostic& error : document.errors) result.diagnostics.push_back(std::move(error));
    from_ = {Origin::Kind::File, file, text};
    if (document.root.kind == YamlNode::Kind::Map)
      apply_map(document.root, "");
    else if (document.errors.empty() && document.root.kind != YamlNode::Kind::Null)
      report(document.root.at, "a job file is a list of 'key: value' lines", "such as name: my-run",
             "");
  }

  /// `where` points at the path inside `shown`, the value follows after '='.
  void apply_override(Origin::Kind kind, const std::string& file, const std::string& shown,
                      const std::string& path, const std::string& value) {
    from_ = {kind, file, shown};
    written_.clear();  // an override may repeat what the file says
    const Position key{1, 1, static_cast<int>(path.size())};
    const int start = static_cast<int>(shown.size() - value.size()) + 1;
    const Position at{1, start, std::max(static_cast<int>(value.size()), 1)};
    const Field* field = find_field(path);
    if (field == nullptr && is_group(path)) {
      report(key, "'" + path + "' is a group of fields", "name one of them: " + path + ".…=value",
             path);
      return;
    }
    if (field == nullptr) field = known_elsewhere(path, key);
    if (field == nullptr) {
      unknown_key(std::string(group_of(path)), std::string(leaf_of(path)), key);
      return;
    }
    YamlNode node;
    node.kind = YamlNode::Kind::Scalar;
    node.text = value;
    node.at = at;
    if (field->type == FieldType::Choices || field->type == FieldType::Rewards ||
        (field->type == FieldType::Paths && value.starts_with('[') && value.ends_with(']'))) {
      YamlDocument document = parse_yaml(value, file);
      if (!document.errors.empty()) {
        report(at, field->path + " = " + value + " cannot be read: " + document.errors[0].message,
               "such as " + std::string(field->example), field->path);
        return;
      }
      node = std::move(document.root);
      move_to(node, at);
    }
    apply_field(*field, node, at);
  }

  void malformed_override(const std::string& file, const std::string& text, std::string hint) {
    from_ = {Origin::Kind::Set, file, text};
    report({1, 1, std::max(static_cast<int>(text.size()), 1)}, "'" + text + "' is not key=value",
           std::move(hint), "");
  }

  void check_rules(const LoadOptions& options) {
    add_problems(problems(result.job));
    if (options.here) add_problems(host_problems(result.job));
    warn_of_idle_model_fields();
    if (options.check_files) add_problems(file_problems(result.job));
  }

 private:
  /// A width of the other kind of attention, say: harmless, but not what the user meant.
  void warn_of_idle_model_fields() {
    const Job untouched;
    for (const std::string& name : trainer::without_effect(result.job.model)) {
      const std::string path = "model." + name;
      const Field* const field = find_field(path);
      if (field == nullptr || value_text(*field, result.job) == value_text(*field, untouched))
        continue;
      add_problems({{Severity::Warning,
                     {path},
                     path + " has no effect in this model",
                     "delete it, or see weft explain " + path}});
    }
  }

  static void move_to(YamlNode& node, const Position& at) {
    node.at = at;
    for (YamlNode& item : node.items) move_to(item, at);
    for (YamlEntry& entry : node.entries) {
      entry.key_at = at;
      move_to(entry.value, at);
    }
  }

  Diagnostic& report(const Position& at, std::string message, std::string hint, std::string field,
                     Severity severity = Severity::Error) {
    // The text may be the raw one; positions refer to the same lines.
    std::string source = line_of(from_.text, at.line);
    if (source.ends_with('\r')) source.pop_back();
    if (at.line == 1 && source.starts_with("\xEF\xBB\xBF")) source.erase(0, 3);
    Position shown = at;
    if (from_.kind != Origin::Kind::File) shown.line = 0;
    result.diagnostics.push_back({severity, from_.file, shown, std::move(source),
                                  std::move(message), std::move(hint), std::move(field)});
    return result.diagnostics.back();
  }

  void apply_map(const YamlNode& map, const std::string& group) {
    for (const YamlEntry& entry : map.entries) {
      const std::string path = join_path(group, entry.key);
      if (const Field* field = find_field(path))
        apply_field(*field, entry.value, entry.value.at);
      else if (is_group(path))
        apply_group(entry, path);
      else
        apply_unknown(entry, group, path);
    }
  }

  void apply_group(const YamlEntry& entry, const std::string& path) {
    if (entry.value.kind == YamlNode::Kind::Map)
      apply_map(entry.value, path);
    else if (entry.value.kind != YamlNode::Kind::Null)
      report(entry.value.at, "'" + path + "' is a group of fields, not a value",
             "put its fields below it, indented by two spaces", path);
  }

  /// Another system's key is taken with a warning when it is clear which of ours is meant.
  void apply_unknown(const YamlEntry& entry, const std::string& group, const std::string& path) {
    if (entry.value.kind == YamlNode::Kind::Map && holds_foreign(entry.value, path)) {
      apply_map(entry.value, path);
      return;
    }
    if (const Field* field = known_elsewhere(path, entry.key_at))
      apply_field(*field, entry.value, entry.value.at);
    else
      unknown_key(group, entry.key, entry.key_at);
  }

  static bool holds_foreign(const YamlNode& map, const std::string& path) {
    return std::ranges::any_of(map.entries, [&](const YamlEntry& entry) {
      const std::string inner = join_path(path, entry.key);
      return entry.value.kind == YamlNode::Kind::Map ? holds_foreign(entry.value, inner)
                                                     : foreign(inner).size() == 1;
    });
  }

  const Field* known_elsewhere(const std::string& path, const Position& key) {
    const std::vector<Foreign> ours = foreign(path);
    if (ours.size() != 1) return nullptr;
    const std::string system(ours[0].system);
    report(key,
           "'" + path + "' is " + (system == "common" ? "a short form" : system + "'s name") +
               "; here it is '" + ours[0].field->path + "'",
           "its value is taken", ours[0].field->path, Severity::Warning);
    return ours[0].field;
  }

  void unknown_key(const std::string& group, const std::string& key, const Position& at) {
    std::vector<std::string> siblings, elsewhere;
    for (const Field& field : fields()) {
      if (group_of(field.path) == group) siblings.emplace_back(leaf_of(field.path));
      if (leaf_of(field.path) == key) elsewhere.push_back("'" + field.path + "'");
    }
    if (group.empty())
      for (const Group& g : groups())
        if (!g.name.empty()) siblings.emplace_back(g.name);
    const std::vector<Foreign> ours = foreign(join_path(group, key));
    std::string hint, explain = group;
    if (const std::string near = closest(key, siblings); !near.empty()) {
      hint = "did you mean '" + near + "'?";
      explain = join_path(group, near);
    } else if (!elsewhere.empty()) {
      hint = "did you mean " + join(elsewhere, " or ") + "?";
      explain = elsewhere.size() == 1 ? elsewhere[0].substr(1, elsewhere[0].size() - 2) : "";
    } else if (!ours.empty()) {
      for (const Foreign& one : ours) elsewhere.push_back("'" + one.field->path + "'");
      hint = "here it is " + join(elsewhere, " or ");
      explain = "";
    } else if (!siblings.empty()) {
      hint = siblings.size() <= 12 ? "known here: " + join(siblings, ", ") : "";
    } else {
      hint = "weft explain lists all groups";
      explain = "";
    }
    if (find_field(explain) == nullptr && !is_group(explain)) explain.clear();
    report(at, "unknown key '" + key + "' " + described_group(group), hint, explain);
  }

  void apply_field(const Field& field, const YamlNode& node, const Position& at) {
    if (!written_.insert(field.path).second) {
      report(at, "'" + field.path + "' has been set above, by another name", "keep one of them",
             field.path);
      return;
    }
    const std::size_t before = result.diagnostics.size();
    if (node.kind == YamlNode::Kind::Null)
      report(node.at, "'" + field.path + "' has no value",
             "give one, or delete the line for the default " + default_text(field), field.path);
    else if (field.type == FieldType::Choices)
      apply_choices(field, node);
    else if (field.type == FieldType::Rewards)
      apply_rewards(field, node);
    else if (field.type == FieldType::Paths && node.kind == YamlNode::Kind::List)
      apply_paths(field, node);
    else if (node.kind != YamlNode::Kind::Scalar)
      report(node.at, "'" + field.path + "' is " + type_text(field) + ", not a " + kind_name(node),
             "such as " + std::string(leaf_of(field.path)) + ": " + std::string(field.example),
             field.path);
    else if (field.path == "model.config")
      apply_model_config(field, node);
    else
      check(field, node.at, set_scalar(field, node.text, result.job));
    const bool failed = result.diagnostics.size() > before;
    if (failed) failed_.insert(field.path);
    // A later, good value heals an earlier one only for rules; its error stays reported.
    std::string source = line_of(from_.text, at.line);
    if (source.ends_with('\r')) source.pop_back();
    result.origins[field.path] = {from_.kind, from_.file, node.at, std::move(source)};
  }

  static std::string kind_name(const YamlNode& node) {
    return node.kind == YamlNode::Kind::Map ? "group" : "list";
  }

  void check(const Field& field, const Position& at, const Expected<void>& outcome) {
    if (outcome) return;
    const auto [message, hint] = split_hint(outcome.error().message);
    report(at, message, hint, field.path);
  }

  /// Values from the file go where the user has written none, wherever in the job they stand. The
  /// job then says all of them itself, so the path is not kept.
  void apply_model_config(const Field& field, const YamlNode& node) {
    std::filesystem::path path(node.text);
    if (path.empty()) return;
    if (path.is_relative() && from_.kind == Origin::Kind::File)
      path = std::filesystem::path(main_file_).parent_path() / path;
    const auto file = read_model_file(path);
    if (!file) {
      report(node.at, "'" + field.path + "': " + file.error().message,
             "the path of a Hugging Face config.json, relative to the job file", field.path);
      for (const Field& one : fields())
        if (group_of(one.path) == "model") failed_.insert(one.path);
      return;
    }
    for (const std::string& warning : file->warnings)
      report(node.at, path.string() + ": " + warning, "", field.path, Severity::Warning);
    for (const std::string& decided : file->decides) {
      const auto found = result.origins.find(decided);
      if (found != result.origins.end() && found->second.kind != Origin::Kind::Model) continue;
      copy_model_field(decided, *file, result.job);
      result.origins[decided] = {Origin::Kind::Model, path.string(), node.at, ""};
    }
  }

  void apply_choices(const Field& field, const YamlNode& node) {
    if (node.kind != YamlNode::Kind::List) {
      report(node.at, "'" + field.path + "' is a list",
             "write " + field.path + ": " + std::string(field.example), field.path);
      return;
    }
    std::vector<std::string> values;
    for (const YamlNode& item : node.items) {
      Job probe;
      Field one = field;
      one.type = FieldType::Choice;
      const auto slot = std::get<std::vector<std::string>*>(field.slot(probe));
      *slot = {item.text};
      if (item.kind != YamlNode::Kind::Scalar)
        report(item.at, "'" + field.path + "' is a list of words",
               "write " + field.path + ": " + std::string(field.example), field.path);
      else
        check(field, item.at, check_value(field, probe));
      values.push_back(item.text);
    }
    *std::get<std::vector<std::string>*>(field.slot(result.job)) = std::move(values);
  }

  void apply_paths(const Field& field, const YamlNode& node) {
    std::vector<std::string> values;
    for (const YamlNode& item : node.items) {
      Job probe;
      if (item.kind != YamlNode::Kind::Scalar) {
        report(item.at, "'" + field.path + "' has a " + kind_name(item) + " where a path belongs",
               "such as " + std::string(field.example), field.path);
        return;
      }
      const auto set = set_scalar(field, item.text, probe);
      check(field, item.at, set);
      if (set) values.push_back(item.text);
    }
    *std::get<std::vector<std::string>*>(field.slot(result.job)) = std::move(values);
  }

  void apply_rewards(const Field& field, const YamlNode& node) {
    if (node.kind != YamlNode::Kind::List) {
      report(node.at, "'rewards' is a list of {name, weight}",
             "write rewards: " + std::string(field.example), field.path);
      return;
    }
    std::vector<RewardJob> rewards;
    for (const YamlNode& item : node.items) rewards.push_back(reward(field, item));
    result.job.rewards = std::move(rewards);
  }

  RewardJob reward(const Field& field, const YamlNode& item) {
    RewardJob out;
    if (item.kind != YamlNode::Kind::Map) {
      report(item.at, "a reward is {name, weight}", "such as {name: accuracy.answer, weight: 1}",
             field.path);
      return out;
    }
    static const std::vector<std::string> known = {"name", "weight"};
    for (const YamlEntry& entry : item.entries) {
      if (entry.key == "name") {
        out.name = entry.value.text;
        Job probe;
        probe.rewards = {{out.name, 1.0}};
        check(field, entry.value.at, check_value(field, probe));
      } else if (entry.key == "weight") {
        Field weight = field;
        weight.path = "rewards.weight";
        weight.type = FieldType::Real;
        weight.range = {-1e6, 1e6};
        weight.example = "1.0";
        weight.slot = [](Job& job) -> Slot { return &job.rewards[0].weight; };
        Job probe;
        if (auto outcome = set_scalar(weight, entry.value.text, probe); outcome)
          out.weight = probe.rewards[0].weight;
        else
          check(field, entry.value.at, outcome);
      } else {
        const std::string near = closest(entry.key, known);
        report(entry.key_at, "unknown key '" + entry.key + "' in a reward",
               near.empty() ? "a reward is {name, weight}" : "did you mean '" + near + "'?",
               field.path);
      }
    }
    if (out.name.empty() && !std::ranges::any_of(item.entries, [](const YamlEntry& entry) {
          return entry.key == "name";
        }))
      report(item.at, "this reward has no name", "such as {name: accuracy.answer, weight: 1}",
             field.path);
    return out;
  }

  /// At the first field that the user wrote; rules over values that were refused say nothing.
  void add_problems(const std::vector<Problem>& found) {
    for (const Problem& problem : found) {
      if (std::ranges::any_of(problem.fields,
                              [&](const std::string& path) { return failed_.contains(path); }))
        continue;
      Diagnostic d{problem.severity,
                   main_file_,
                   {},
                   "",
                   problem.message,
                   problem.hint,
                   problem.fields.empty() ? "" : problem.fields[0]};
      for (const std::string& path : problem.fields) {
        const auto origin = result.origins.find(path);
        if (origin == result.origins.end()) continue;
        d.file = origin->second.file;
        d.at = origin->second.at;
        if (origin->second.kind != Origin::Kind::File) d.at.line = 0;
        d.source = origin->second.source;
        break;
      }
      result.diagnostics.push_back(std::move(d));
    }
  }

  std::string main_file_;
  Origins from_{Origin::Kind::File, "", ""};
  std::set<std::string> written_;  // in the present source
  std::set<std::string> failed_;
};

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// "WEFT__GRPO__BETA" -> "grpo.beta".
std::string path_of_variable(const std::string& name) {
  std::string path = lower(name.substr(std::string_view("WEFT__").size()));
  for (std::size_t at = path.find("__"); at != std::string::npos; at = path.find("__", at + 1))
    path.replace(at, 2, ".");
  return path;
}

void apply_overrides(Loader& loader, const Overrides& overrides) {
  for (const auto& [name, value] : overrides.environment) {
    if (!name.starts_with("WEFT__")) continue;
    const std::string path = path_of_variable(name);
    loader.apply_override(Origin::Kind::Environment, name, path + "=" + value, path, value);
  }
  for (const std::string& text : overrides.set) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      loader.malformed_override("--set", text, "such as --set grpo.beta=0.001");
    else
      loader.apply_override(Origin::Kind::Set, "--set", text, text.substr(0, equals),
                            text.substr(equals + 1));
  }
}

}  // namespace

std::string to_string(const Origin& origin) {
  switch (origin.kind) {
    case Origin::Kind::Default:
      return "default";
    case Origin::Kind::File:
      return origin.file + ":" + std::to_string(origin.at.line);
    case Origin::Kind::Model:
      return origin.file;
    case Origin::Kind::Environment:
      return "env " + origin.file;
    case Origin::Kind::Set:
      return "--set";
  }
  return "?";
}

Loaded load_job_text(std::string_view text, const std::string& file, const LoadOptions& options) {
  Loader loader(file);
  loader.apply_document(text, file);
  apply_overrides(loader, options.overrides);
  loader.check_rules(options);
  for (const Field& field : fields()) loader.result.origins.try_emplace(field.path);
  sort_by_place(loader.result.diagnostics);
  return std::move(loader.result);
}

Loaded load_job(const std::filesystem::path& path, const LoadOptions& options) {
  const auto text = read_file(path, std::size_t{1} << 20);
  if (text) return load_job_text(*text, path.string(), options);
  Loaded result;
  result.diagnostics.push_back({Severity::Error,
                                path.string(),
                                {},
                                "",
                                text.error().message,
                                "the argument is the path of a job file; see deploy/jobs",
                                ""});
  return result;
}

}  // namespace weft::runtime
