#include "runtime/cli/render.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/units.h"

namespace weft::cli {
namespace {

using nlohmann::json;

std::string dump(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

bool starts_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), starts_character));
}

/// At most `width` columns, with an ellipsis where something was cut.
std::string fit(const std::string& text, std::size_t width) {
  if (columns_of(text) <= width || width == 0) return text;
  std::size_t seen = 0, end = 0;
  for (; end < text.size(); ++end)
    if (starts_character(text[end]) && ++seen == width) break;
  return text.substr(0, end) + "…";
}

std::string one_line(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return text;
}

void print_table(Io& io, const std::vector<json>& records, const std::vector<Column>& columns) {
  std::vector<std::vector<std::string>> rows(1);
  for (const Column& column : columns) rows[0].push_back(column.header);
  for (const json& record : records) {
    rows.emplace_back();
    for (const Column& column : columns) rows.back().push_back(one_line(column.text(record)));
  }
  std::vector<std::size_t> widths(columns.size());
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], columns_of(row[i]));
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - columns_of(row[i]), ' ');
      line += columns[i].right ? padding + row[i] : row[i] + padding;
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    io.out << (io.out_tty ? fit(line, static_cast<std::size_t>(io.width)) : line) << "\n";
  }
}

json with_schema(std::string_view verb, const json& body) {
  json out = body;  // which may carry the schema of the file that it came from
  out["schema"] = "weft." + std::string(verb) + "/v1";
  return out;
}

void add_yaml(const json& value, int indent, std::string& out) {
  const std::string margin(static_cast<std::size_t>(indent), ' ');
  const auto nested = [](const json& v) { return v.is_structured() && !v.empty(); };
  if (value.is_object()) {
    for (const auto& [key, item] : value.items()) {
      const bool plain = std::ranges::all_of(
          key, [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '.'; });
      out += margin + (plain && !key.empty() ? key : dump(key, -1)) + ":";
      if (nested(item)) {
        out += "\n";
        add_yaml(item, indent + 2, out);
      } else {
        out += " " + dump(item, -1) + "\n";
      }
    }
  } else if (value.is_array()) {
    for (const json& item : value) {
      if (!nested(item)) {
        out += margin + "- " + dump(item, -1) + "\n";
        continue;
      }
      std::string inner;
      add_yaml(item, indent + 2, inner);
      inner.replace(static_cast<std::size_t>(indent), 1, "-");
      out += inner;
    }
  } else {
    out += margin + dump(value, -1) + "\n";
  }
}

}  // namespace

std::string yaml_text(const json& value) {
  std::string out;
  if (value.is_structured() && value.empty()) return dump(value, -1) + "\n";
  add_yaml(value, 0, out);
  return out;
}

void print_list(Io& io, Format format, std::string_view verb, const std::vector<json>& records,
                const std::vector<Column>& columns, const std::string& name_key) {
  switch (format) {
    case Format::Table:
      print_table(io, records, columns);
      return;
    case Format::Json:
      io.out << dump(with_schema(verb, {{"items", records}}), 2) << "\n";
      return;
    case Format::Yaml:
      io.out << yaml_text(with_schema(verb, {{"items", records}}));
      return;
    case Format::Jsonl:
      for (const json& record : records) io.out << dump(record, -1) << "\n";
      return;
    case Format::Name:
      for (const json& record : records) io.out << one_line(cell(record, name_key.c_str())) << "\n";
      return;
  }
}

void print_object(Io& io, Format format, std::string_view verb, const json& object,
                  const std::string& name_key,
                  const std::vector<std::pair<std::string, std::string>>& lines) {
  switch (format) {
    case Format::Table: {
      std::size_t widest = 0;
      for (const auto& [label, text] : lines) widest = std::max(widest, columns_of(label));
      for (const auto& [label, text] : lines)
        io.out << label << std::string(widest - columns_of(label) + 2, ' ') << one_line(text)
               << "\n";
      return;
    }
    case Format::Json:
      io.out << dump(with_schema(verb, object), 2) << "\n";
      return;
    case Format::Jsonl:
      io.out << dump(with_schema(verb, object), -1) << "\n";
      return;
    case Format::Yaml:
      io.out << yaml_text(with_schema(verb, object));
      return;
    case Format::Name:
      io.out << cell(object, name_key.c_str()) << "\n";
      return;
  }
}

std::string cell(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end() || found->is_null()) return "-";
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_number_float()) return dump(*found, -1);
  char text[32];
  std::snprintf(text, sizeof text, "%.5g", found->get<double>());
  return text;
}

std::string ago(const json& object, const char* key, const Clock& clock) {
  const std::string text = cell(object, key);
  std::tm utc{};
  if (std::sscanf(text.c_str(), "%d-%d-%dT%d:%d:%d", &utc.tm_year, &utc.tm_mon, &utc.tm_mday,
                  &utc.tm_hour, &utc.tm_min, &utc.tm_sec) != 6)
    return "-";
  utc.tm_year -= 1900;
  utc.tm_mon -= 1;
  const WallTime then{std::chrono::seconds(::timegm(&utc))};
  const Duration age = std::max(Duration{}, Duration(clock.wall_now() - then));
  if (age < std::chrono::seconds(1)) return "now";
  constexpr auto kDay = std::chrono::hours(24);
  return (age < 2 * kDay ? format_duration(age) : std::to_string(age / kDay) + " d") + " ago";
}

}  // namespace weft::cli
