#include "runtime/job/reference.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/text.h"
#include "runtime/job/fields.h"

namespace weft::runtime {
namespace {

std::string wrap(std::string_view text, std::size_t indent, std::size_t width) {
  std::string out, line;
  const std::string margin(indent, ' ');
  const auto flush = [&] {
    if (!out.empty()) out += margin;
    out += line + "\n";
    line.clear();
  };
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (!line.empty() && indent + line.size() + 1 + end > width) flush();
    if (!line.empty()) line += ' ';
    line += text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  flush();
  return out;
}

std::string other_names(const Field& field) {
  std::vector<std::string> parts;
  for (const OtherName& other : field.names)
    parts.push_back(std::string(other.system) + ": " + std::string(other.name));
  return join(parts, " · ");
}

const char* on_resume_text(const Field& field) {
  return field.on_resume == OnResume::Same ? "must stay the same" : "may change";
}

std::string one_field(const Field& field, int width) {
  std::string out =
      field.path + "\n\n  " + wrap(field.help, 2, static_cast<std::size_t>(width)) + "\n";
  const auto row = [&](const char* label, const std::string& text) {
    if (text.empty()) return;
    std::string margin = "  " + std::string(label);
    margin.resize(14, ' ');
    out += margin + wrap(text, 14, static_cast<std::size_t>(width));
  };
  row("type", type_text(field));
  row("default", default_text(field));
  row("unit", std::string(field.unit));
  row("range", range_text(field));
  row("works with", std::string(field.interacts));
  row("on resume", on_resume_text(field));
  row("elsewhere", other_names(field));
  const std::string group(group_of(field.path)), leaf(leaf_of(field.path));
  out += "\n  " + (group.empty() ? "" : group + ":\n    ") + leaf + ": " +
         std::string(field.example) + "\n";
  return out;
}

std::string first_sentence(std::string_view text) {
  const std::size_t end = text.find(". ");
  return std::string(text.substr(0, end == std::string_view::npos ? text.size() : end + 1));
}

std::string group_listing(const Group& group) {
  std::string out = std::string(group.name) + "\n\n  " + std::string(group.help) + "\n\n";
  std::size_t widest = 0;
  for (const Field& field : fields())
    if (group_of(field.path) == group.name) widest = std::max(widest, field.path.size());
  for (const Field& field : fields()) {
    if (group_of(field.path) != group.name) continue;
    std::string line = "  " + field.path;
    line.resize(widest + 4, ' ');
    std::string value = field.type == FieldType::Rewards ? "(list)" : default_text(field);
    value.resize(std::max<std::size_t>(value.size(), 12), ' ');
    out += line + value + "  " + first_sentence(field.help) + "\n";
  }
  return out;
}

std::string all_groups() {
  std::string out;
  for (const Group& group : groups()) {
    if (group.name.empty()) {
      for (const Field& field : fields())
        if (group_of(field.path).empty()) {
          std::string line = "  " + field.path;
          line.resize(16, ' ');
          out += line + first_sentence(field.help) + "\n";
        }
      continue;
    }
    std::string line = "  " + std::string(group.name) + ".…";
    line.resize(18, ' ');  // the ellipsis is three bytes wide and one column
    out += line + std::string(group.help) + "\n";
  }
  return out;
}

/// "grpo.betta" -> the nearest path.
tl::unexpected<Error> no_such_field(std::string_view path) {
  std::vector<std::string> known;
  for (const Field& field : fields()) known.push_back(field.path);
  for (const Group& group : groups())
    if (!group.name.empty()) known.emplace_back(group.name);
  std::string near = closest(path, known);
  for (const Field& field : fields())
    if (leaf_of(field.path) == path) near = field.path;
  if (const auto ours = foreign(path); !ours.empty()) near = ours[0].field->path;
  return fail(Code::NotFound, "no field '" + std::string(path) + "'" +
                                  (near.empty() ? "; weft explain lists all groups"
                                                : "; did you mean '" + near + "'?"));
}

std::string escape_cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    if (c == '<')
      out += "&lt;";
    else
      out += c;
  }
  return out;
}

std::string markdown_field(const Field& field) {
  std::string out = "### `" + field.path + "`\n\n" + escape_cell(field.help) + "\n\n";
  const auto row = [&](const char* label, const std::string& text) {
    if (!text.empty()) out += "- " + std::string(label) + ": " + text + "\n";
  };
  row("type", type_text(field));
  row("default", "`" + default_text(field) + "`");
  row("unit", std::string(field.unit));
  row("range", range_text(field));
  row("works with", escape_cell(field.interacts));
  row("on resume", on_resume_text(field));
  row("elsewhere", escape_cell(other_names(field)));
  row("example", "`" + std::string(leaf_of(field.path)) + ": " + std::string(field.example) + "`");
  return out + "\n";
}

nlohmann::json bounded(nlohmann::json schema, const Range& range) {
  if (std::isfinite(range.min))
    schema[range.above_min ? "exclusiveMinimum" : "minimum"] = range.min;
  if (std::isfinite(range.max))
    schema[range.below_max ? "exclusiveMaximum" : "maximum"] = range.max;
  return schema;
}

nlohmann::json type_schema(const Field& field) {
  using nlohmann::json;
  switch (field.type) {
    case FieldType::Bool:
      return {{"type", "boolean"}};
    case FieldType::Int:
      return bounded({{"type", "integer"}}, field.range);
    case FieldType::Count:
      return {{"anyOf",
               json::array({bounded({{"type", "integer"}}, field.range),
                            {{"type", "string"}, {"pattern", "^[0-9]+([.][0-9]+)?[KkMBGT]$"}}})}};
    case FieldType::Real:
      return bounded({{"type", "number"}}, field.range);
    case FieldType::Text:
      return {{"type", "string"}};
    case FieldType::Choice:
      return {{"type", "string"}, {"enum", field.choices}};
    case FieldType::Choices:
      return {{"type", "array"}, {"items", {{"type", "string"}, {"enum", field.choices}}}};
    case FieldType::Duration:
      return {{"type", "string"}, {"pattern", "^[0-9]+([.][0-9]+)? ?(ns|us|ms|s|m|h|d)$"}};
    case FieldType::Paths:
      return {{"anyOf", json::array({{{"type", "string"}},
                                     {{"type", "array"}, {"items", {{"type", "string"}}}}})}};
    case FieldType::Rewards: {
      json item = {{"type", "object"}, {"required", {"name"}}, {"additionalProperties", false}};
      item["properties"] = {{"name", {{"type", "string"}, {"enum", field.choices}}},
                            {"weight", {{"type", "number"}}}};
      return {{"type", "array"}, {"items", item}};
    }
  }
  return {};
}

}  // namespace

Expected<std::string> explain(std::string_view path, int width) {
  if (path.empty()) return all_groups();
  if (const Field* field = find_field(path)) return one_field(*field, width);
  for (const Group& group : groups())
    if (!path.empty() && group.name == path) return group_listing(group);
  if (path.starts_with("rewards.")) return one_field(*find_field("rewards"), width);
  return no_such_field(path);
}

Expected<std::string> explain_recursive(std::string_view path, int width) {
  if (!path.empty() && !is_group(path)) return explain(path, width);
  std::string out;
  for (const Field& field : fields())
    if (path.empty() || group_of(field.path) == path)
      out += (out.empty() ? "" : "\n") + one_field(field, width);
  return out;
}

std::string reference_markdown() {
  std::string out =
      "# Job files: every field\n\n"
      "Written by `weft explain --markdown` from the one table that also parses and checks job "
      "files\n"
      "(runtime/job/fields*.cpp); a test fails when this page is not current. A value comes from, "
      "in rising\n"
      "precedence: the default, the file, the environment (`WEFT__GRPO__BETA`), `--set "
      "grpo.beta=0.001`.\n\n";
  for (const Group& group : groups()) {
    out += "## " +
           (group.name.empty() ? std::string("Top level") : "`" + std::string(group.name) + "`") +
           "\n\n" + std::string(group.help) + "\n\n";
    for (const Field& field : fields())
      if (group_of(field.path) == group.name) out += markdown_field(field);
  }
  out.pop_back();
  return out;
}

nlohmann::json job_schema() {
  nlohmann::json root = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                         {"title", "weft job"},
                         {"type", "object"},
                         {"additionalProperties", false}};
  for (const Group& group : groups())
    if (!group.name.empty())
      root["properties"][std::string(group.name)] = {
          {"type", "object"}, {"description", group.help}, {"additionalProperties", false}};
  for (const Field& field : fields()) {
    nlohmann::json schema = type_schema(field);
    schema["description"] = field.help;
    const std::string group(group_of(field.path)), leaf(leaf_of(field.path));
    (group.empty() ? root : root["properties"][group])["properties"][leaf] = std::move(schema);
  }
  return root;
}

}  // namespace weft::runtime
