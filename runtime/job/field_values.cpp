// How one field's value is typed, ranged and printed. Strict: a value that two readers could take
// for two things is refused.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/text.h"
#include "base/units.h"
#include "runtime/job/fields.h"
#include "runtime/job/yaml.h"

namespace weft::runtime {
namespace {

tl::unexpected<Error> refuse(const std::string& message, const std::string& hint) {
  return fail(Code::InvalidArgument, message + "\n" + hint);
}

std::string is_no(const Field& field, std::string_view text, std::string_view what) {
  return field.path + " = " + (text.empty() ? "''" : std::string(text)) + " is not " +
         std::string(what);
}

std::vector<std::string> strings(const std::vector<std::string_view>& views) {
  return {views.begin(), views.end()};
}

std::string one_of(const Field& field) { return join(strings(field.choices), ", "); }

bool all_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

/// The number that a careless 1e3 or 16.0 meant, for the hint; "" when there is none.
std::string meant_integer(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return "";
  if (value != std::floor(value) || std::abs(value) > 1e15) return "";
  return "write " + std::to_string(static_cast<long long>(value));
}

Expected<std::int64_t> parse_integer(const Field& field, std::string_view text) {
  const bool negative = text.starts_with('-');
  const std::string_view digits = negative ? text.substr(1) : text;
  if (!all_digits(digits)) {
    const std::string meant = meant_integer(text);
    return refuse(is_no(field, text, "a whole number"),
                  meant.empty() ? "digits only, such as " + default_text(field) : meant);
  }
  if (digits.size() > 1 && digits[0] == '0') {
    const std::size_t first = std::min(digits.find_first_not_of('0'), digits.size() - 1);
    return refuse(
        field.path + " = " + std::string(text) + " starts with 0, which some read as octal",
        "write " + std::string(digits.substr(first)));
  }
  std::int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc())
    return refuse(is_no(field, text, "a number that fits"), "it " + range_text(field));
  return value;
}

Expected<std::int64_t> parse_whole(const Field& field, std::string_view text) {
  const bool has_suffix =
      !text.empty() && std::string_view("KkMBGT").find(text.back()) != std::string_view::npos;
  if (field.type != FieldType::Count || !has_suffix) return parse_integer(field, text);
  const auto count = parse_count(text);
  if (!count) return refuse(is_no(field, text, "a count"), "such as 1200, 1.5K or 2M");
  return static_cast<std::int64_t>(*count);
}

Expected<double> parse_real(const Field& field, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    return refuse(is_no(field, text, "a number"), "such as " + std::string(field.example));
  return value;
}

/// The shortest text that reads back as the same double: 0.2, 3e-4.
std::string shortest(double value) {
  std::array<char, 40> buffer;
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  std::string text(buffer.data(), result.ptr);
  if (const std::size_t e = text.find('e'); e != std::string::npos) {
    const std::size_t zero = e + 2;  // to_chars writes e-04
    if (text[zero] == '0') text.erase(zero, 1);
  }
  return text;
}

bool inside(const Range& range, double value) {
  return (range.above_min ? value > range.min : value >= range.min) &&
         (range.below_max ? value < range.max : value <= range.max);
}

Expected<void> check_number(const Field& field, double value, const std::string& text) {
  if (inside(field.range, value)) return {};
  return refuse(field.path + " = " + text + " is out of range", "it must be " + range_text(field));
}

Expected<void> check_choice(const Field& field, const std::string& value) {
  if (std::ranges::find(field.choices, value) != field.choices.end()) return {};
  std::string near = closest(value, strings(field.choices));
  for (const std::string_view choice : field.choices)
    if (value.size() > 3 && choice.find(value) != std::string_view::npos) near = choice;
  return refuse(field.path + " has no '" + value + "'",
                (near.empty() ? "" : "did you mean '" + near + "'? ") + "one of " + one_of(field));
}

Expected<void> check_text(const Field& field, const std::string& value) {
  const bool control = std::ranges::any_of(
      value, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (control)
    return refuse(field.path + " contains a control character", "a line of ordinary text");
  if (value.size() > 4096) return refuse(field.path + " is too long", "at most 4096 bytes");
  return {};
}

std::string rewards_text(const std::vector<RewardJob>& rewards) {
  std::vector<std::string> parts;
  for (const RewardJob& reward : rewards)
    parts.push_back("{name: " + yaml_scalar(reward.name) + ", weight: " + shortest(reward.weight) +
                    "}");
  return "[" + join(parts, ", ") + "]";
}

}  // namespace

std::string type_text(const Field& field) {
  switch (field.type) {
    case FieldType::Bool:
      return "true or false";
    case FieldType::Int:
      return "whole number";
    case FieldType::Count:
      return "count (1200, 1.5K)";
    case FieldType::Real:
      return "number";
    case FieldType::Text:
      return "text";
    case FieldType::Choice:
      return "one of " + one_of(field);
    case FieldType::Choices:
      return "list of " + one_of(field);
    case FieldType::Duration:
      return "duration (250ms, 30s, 2m)";
    case FieldType::Paths:
      return "list of paths";
    case FieldType::Rewards:
      return "list of {name, weight}";
  }
  return "?";
}

std::string range_text(const Field& field) {
  const auto print = [&](double bound) {
    return shortest(bound) + (field.type == FieldType::Duration ? "s" : "");
  };
  std::string text;
  if (std::isfinite(field.range.min))
    text = (field.range.above_min ? "above " : "at least ") + print(field.range.min);
  if (std::isfinite(field.range.max))
    text += std::string(text.empty() ? "" : ", ") +
            (field.range.below_max ? "below " : "at most ") + print(field.range.max);
  return text;
}

std::string value_text(const Field& field, const Job& job) {
  // A slot only points; nothing is written through it here.
  const Slot slot = field.slot(const_cast<Job&>(job));
  if (const auto* const* flag = std::get_if<bool*>(&slot)) return **flag ? "true" : "false";
  if (const auto* const* whole = std::get_if<int*>(&slot)) return std::to_string(**whole);
  if (const auto* const* big = std::get_if<std::uint64_t*>(&slot)) return std::to_string(**big);
  if (const auto* const* text = std::get_if<std::string*>(&slot)) return yaml_scalar(**text);
  if (const auto* const* rewards = std::get_if<std::vector<RewardJob>*>(&slot))
    return rewards_text(**rewards);
  if (const auto* const* list = std::get_if<std::vector<std::string>*>(&slot)) {
    std::vector<std::string> parts;
    for (const std::string& item : **list) parts.push_back(yaml_scalar(item));
    return "[" + join(parts, ", ") + "]";
  }
  const double value = *std::get<double*>(slot);
  return shortest(value) + (field.type == FieldType::Duration ? "s" : "");
}

std::string default_text(const Field& field) { return value_text(field, Job{}); }

Expected<void> set_scalar(const Field& field, std::string_view text, Job& job) {
  const Slot slot = field.slot(job);
  switch (field.type) {
    case FieldType::Bool:
      if (text != "true" && text != "false")
        return refuse(is_no(field, text, "true or false"), "write true or false");
      *std::get<bool*>(slot) = text == "true";
      return {};
    case FieldType::Int:
    case FieldType::Count: {
      WEFT_TRY_ASSIGN(const std::int64_t value, parse_whole(field, text));
      WEFT_TRY(check_number(field, static_cast<double>(value), std::string(text)));
      if (auto* const* whole = std::get_if<int*>(&slot))
        **whole = static_cast<int>(value);
      else
        *std::get<std::uint64_t*>(slot) = static_cast<std::uint64_t>(value);
      return {};
    }
    case FieldType::Real: {
      WEFT_TRY_ASSIGN(const double value, parse_real(field, text));
      WEFT_TRY(check_number(field, value, std::string(text)));
      *std::get<double*>(slot) = value;
      return {};
    }
    case FieldType::Duration: {
      const auto duration = parse_duration(text);
      if (!duration)
        return refuse(is_no(field, text, "a duration"), "with a unit, such as 250ms, 30s or 2m");
      WEFT_TRY(check_number(field, seconds(*duration), std::string(text)));
      *std::get<double*>(slot) = seconds(*duration);
      return {};
    }
    case FieldType::Text:
      WEFT_TRY(check_text(field, std::string(text)));
      *std::get<std::string*>(slot) = text;
      return {};
    case FieldType::Choice:
      WEFT_TRY(check_choice(field, std::string(text)));
      *std::get<std::string*>(slot) = text;
      return {};
    case FieldType::Paths:
      WEFT_TRY(check_text(field, std::string(text)));
      if (text.empty())
        return refuse(field.path + " is empty", "such as " + std::string(field.example));
      *std::get<std::vector<std::string>*>(slot) = {std::string(text)};
      return {};
    case FieldType::Choices:
    case FieldType::Rewards:
      return refuse(field.path + " is a list",
                    "write " + field.path + ": " + std::string(field.example));
  }
  return {};
}

Expected<void> check_value(const Field& field, const Job& job) {
  const Slot slot = field.slot(const_cast<Job&>(job));
  if (const auto* const* whole = std::get_if<int*>(&slot))
    return check_number(field, **whole, value_text(field, job));
  if (const auto* const* big = std::get_if<std::uint64_t*>(&slot))
    return check_number(field, static_cast<double>(**big), value_text(field, job));
  if (const auto* const* value = std::get_if<double*>(&slot))
    return check_number(field, **value, value_text(field, job));
  if (const auto* const* text = std::get_if<std::string*>(&slot))
    return field.type == FieldType::Choice ? check_choice(field, **text)
                                           : check_text(field, **text);
  if (const auto* const* list = std::get_if<std::vector<std::string>*>(&slot))
    for (const std::string& item : **list)
      WEFT_TRY(field.type == FieldType::Paths ? check_text(field, item)
                                              : check_choice(field, item));
  if (const auto* const* rewards = std::get_if<std::vector<RewardJob>*>(&slot))
    for (const RewardJob& reward : **rewards) {
      WEFT_TRY(check_choice(field, reward.name));
      if (!std::isfinite(reward.weight))
        return refuse("rewards: the weight of " + reward.name + " is not a number", "such as 1.0");
    }
  return {};
}

}  // namespace weft::runtime
