#include <algorithm>
#include <filesystem>

#include "base/text.h"
#include "runtime/job/loader.h"
#include "runtime/job/model_file.h"

namespace weft::runtime {
namespace {

/// set_scalar and check_value say "<message>\n<hint>".
std::pair<std::string, std::string> split_hint(const std::string& text) {
  const std::size_t newline = text.find('\n');
  if (newline == std::string::npos) return {text, ""};
  return {text.substr(0, newline), text.substr(newline + 1)};
}

std::string kind_name(const YamlNode& node) {
  return node.kind == YamlNode::Kind::Map ? "group" : "list";
}

}  // namespace

void Loader::apply_field(const Field& field, const YamlNode& node, const Position& at) {
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
  if (result.diagnostics.size() > before) failed_.insert(field.path);
  // A later, good value heals an earlier one only for rules; its error stays reported.
  result.origins[field.path] = {from_.kind, from_.file, node.at, source_line(at)};
}

void Loader::check(const Field& field, const Position& at, const Expected<void>& outcome) {
  if (outcome) return;
  const auto [message, hint] = split_hint(outcome.error().message);
  report(at, message, hint, field.path);
}

/// Values from the file go where the user has written none, wherever in the job they stand. The
/// job then says all of them itself, so the path is not kept.
void Loader::apply_model_config(const Field& field, const YamlNode& node) {
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
  fp8_model_file_ = file->stored_in_fp8 ? path.lexically_normal().string() : "";
  for (const std::string& decided : file->decides) {
    const auto found = result.origins.find(decided);
    if (found != result.origins.end() && found->second.kind != Origin::Kind::Model) continue;
    copy_model_field(decided, *file, result.job);
    result.origins[decided] = {Origin::Kind::Model, path.string(), node.at, ""};
  }
}

void Loader::apply_choices(const Field& field, const YamlNode& node) {
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

void Loader::apply_paths(const Field& field, const YamlNode& node) {
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

void Loader::apply_rewards(const Field& field, const YamlNode& node) {
  if (node.kind != YamlNode::Kind::List) {
    report(node.at, "'rewards' is a list of {name, weight}",
           "write rewards: " + std::string(field.example), field.path);
    return;
  }
  std::vector<RewardJob> rewards;
  for (const YamlNode& item : node.items) rewards.push_back(reward(field, item));
  result.job.rewards = std::move(rewards);
}

RewardJob Loader::reward(const Field& field, const YamlNode& item) {
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

}  // namespace weft::runtime
