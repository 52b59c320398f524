#include "runtime/job/loader.h"

#include <algorithm>

#include "runtime/job/unknown_key.h"

namespace weft::runtime {
namespace {

void move_to(YamlNode& node, const Position& at) {
  node.at = at;
  for (YamlNode& item : node.items) move_to(item, at);
  for (YamlEntry& entry : node.entries) {
    entry.key_at = at;
    move_to(entry.value, at);
  }
}

}  // namespace

void Loader::apply_document(std::string_view text, const std::string& file) {
  YamlDocument document = parse_yaml(text, file);
  for (Diagnostic& error : document.errors) result.diagnostics.push_back(std::move(error));
  from_ = {Origin::Kind::File, file, text};
  if (document.root.kind == YamlNode::Kind::Map)
    apply_map(document.root, "");
  else if (document.errors.empty() && document.root.kind != YamlNode::Kind::Null)
    report(document.root.at, "a job file is a list of 'key: value' lines", "such as name: my-run",
           "");
}

void Loader::apply_override(Origin::Kind kind, const std::string& file, const std::string& shown,
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

void Loader::malformed_override(const std::string& file, const std::string& text,
                                std::string hint) {
  from_ = {Origin::Kind::Set, file, text};
  report({1, 1, std::max(static_cast<int>(text.size()), 1)}, "'" + text + "' is not key=value",
         std::move(hint), "");
}

void Loader::apply_map(const YamlNode& map, const std::string& group) {
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

void Loader::apply_group(const YamlEntry& entry, const std::string& path) {
  if (entry.value.kind == YamlNode::Kind::Map)
    apply_map(entry.value, path);
  else if (entry.value.kind != YamlNode::Kind::Null)
    report(entry.value.at, "'" + path + "' is a group of fields, not a value",
           "put its fields below it, indented by two spaces", path);
}

/// Another system's key is taken with a warning when it is clear which of ours is meant.
void Loader::apply_unknown(const YamlEntry& entry, const std::string& group,
                           const std::string& path) {
  if (entry.value.kind == YamlNode::Kind::Map && holds_foreign(entry.value, path)) {
    apply_map(entry.value, path);
    return;
  }
  if (const Field* field = known_elsewhere(path, entry.key_at))
    apply_field(*field, entry.value, entry.value.at);
  else
    unknown_key(group, entry.key, entry.key_at);
}

const Field* Loader::known_elsewhere(const std::string& path, const Position& key) {
  const std::vector<Foreign> ours = foreign(path);
  if (ours.size() != 1) return nullptr;
  const std::string system(ours[0].system);
  report(key,
         "'" + path + "' is " + (system == "common" ? "a short form" : system + "'s name") +
             "; here it is '" + ours[0].field->path + "'",
         "its value is taken", ours[0].field->path, Severity::Warning);
  return ours[0].field;
}

void Loader::unknown_key(const std::string& group, const std::string& key, const Position& at) {
  UnknownKey said = describe_unknown_key(group, key);
  report(at, std::move(said.message), std::move(said.hint), std::move(said.explain));
}

/// The text may be the raw one; positions refer to the same lines.
std::string Loader::source_line(const Position& at) const {
  std::string source = line_of(from_.text, at.line);
  if (source.ends_with('\r')) source.pop_back();
  if (at.line == 1 && source.starts_with("\xEF\xBB\xBF")) source.erase(0, 3);
  return source;
}

void Loader::report(const Position& at, std::string message, std::string hint, std::string field,
                    Severity severity) {
  Position shown = at;
  if (from_.kind != Origin::Kind::File) shown.line = 0;
  result.diagnostics.push_back({severity, from_.file, shown, source_line(at), std::move(message),
                                std::move(hint), std::move(field)});
}

void Loader::check_rules(const LoadOptions& options) {
  add_problems(problems(result.job));
  if (options.here) add_problems(host_problems(result.job));
  warn_of_idle_model_fields();
  warn_of_another_precision();
  if (options.check_files) add_problems(file_problems(result.job));
}

/// A width of the other kind of attention, say: harmless, but not what the user meant.
void Loader::warn_of_idle_model_fields() {
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

/// Weights are read whatever they are stored in; what a job trains in it says itself.
void Loader::warn_of_another_precision() {
  const std::string& ours = result.job.precision;
  if (fp8_model_file_.empty() || ours == "fp8") return;
  result.diagnostics.push_back({Severity::Warning,
                                fp8_model_file_,
                                {},
                                "",
                                "its weights are stored in FP8, this job trains with precision: " +
                                    ours + "; say precision: fp8 if it should do as they did",
                                "",
                                ""});
}

/// At the first field that the user wrote; rules over values that were refused say nothing.
void Loader::add_problems(const std::vector<Problem>& found) {
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

}  // namespace weft::runtime
