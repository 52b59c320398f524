// Costs as people write them on a command line.
#include <charconv>
#include <cmath>
#include <optional>

#include "base/text.h"
#include "dualpipe/timeline.h"

namespace weft::dualpipe {
namespace {

struct Field {
  std::string_view key;
  std::optional<double> value;
};

Expected<double> parse_number(std::string_view key, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) ||
      value < 0 || value > 1e15) {
    return fail(Code::InvalidArgument, "cost " + std::string(key) + ": '" + std::string(text) +
                                           "' is not a number from 0 to 1e15");
  }
  return value;
}

Expected<void> set_field(std::vector<Field>& fields, std::string_view item) {
  const auto equals = item.find('=');
  const std::string_view key = item.substr(0, equals);
  std::vector<std::string> known;
  for (Field& field : fields) {
    known.emplace_back(field.key);
    if (field.key != key || equals == std::string_view::npos) continue;
    if (field.value) {
      return fail(Code::InvalidArgument, "cost " + std::string(key) + " is given twice");
    }
    WEFT_TRY_ASSIGN(field.value, parse_number(key, item.substr(equals + 1)));
    return {};
  }
  if (equals == std::string_view::npos) {
    return fail(Code::InvalidArgument,
                "cost '" + std::string(item) + "': expected KEY=NUMBER, as in F=1,BI=1,W=1");
  }
  return fail(Code::InvalidArgument,
              "no cost is called '" + std::string(key) + "'; known are " + join(known, ", "));
}

}  // namespace

Expected<Costs> parse_costs(std::string_view text) {
  std::vector<Field> fields = {{"F", {}},  {"B", {}},    {"BI", {}},    {"W", {}},
                               {"FB", {}}, {"send", {}}, {"bytes", {}}, {"bandwidth", {}}};
  while (!text.empty()) {
    const auto comma = text.find(',');
    WEFT_TRY(set_field(fields, text.substr(0, comma)));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  }
  Costs costs;
  costs.op.f = fields[0].value.value_or(1);
  costs.op.bi = fields[2].value.value_or(1);
  costs.op.w = fields[3].value.value_or(1);
  costs.op.b = fields[1].value.value_or(costs.op.bi + costs.op.w);
  costs.op.fb = fields[4].value.value_or(costs.op.f + costs.op.b);
  costs.send = fields[5].value.value_or(0);
  costs.bytes = fields[6].value.value_or(0);
  costs.bandwidth = fields[7].value.value_or(0);
  return costs;
}

}  // namespace weft::dualpipe
