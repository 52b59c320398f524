#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>

#include "runtime/cli/checkpoint_source.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "trainer/checkpoint/difference.h"

namespace weft::cli {
namespace {

using nlohmann::json;
namespace checkpoint = trainer::checkpoint;

/// JSON has no infinity.
json number(double value) { return std::isfinite(value) ? json(value) : json("infinite"); }

json record_of(const checkpoint::TensorDifference& d) {
  return {{"name", d.item + "/" + d.name},
          {"what", d.what},
          {"elements", d.elements},
          {"different", d.different},
          {"max_absolute", number(d.max_absolute)},
          {"max_relative", number(d.max_relative)}};
}

/// The trainer's state as flat members; text that is no object is one member.
json flat_state(const std::string& text) {
  const json state = json::parse(text, nullptr, false);
  return state.is_object() ? state.flatten() : json{{"", text}};
}

void add_state(const std::string& a, const std::string& b, std::vector<json>& records) {
  const json left = flat_state(a), right = flat_state(b);
  json all = left;
  all.update(right);
  for (const auto& [key, unused] : all.items()) {
    const std::string x = left.contains(key) ? left[key].dump() : "nothing";
    const std::string y = right.contains(key) ? right[key].dump() : "nothing";
    if (x == y) continue;
    records.push_back({{"name", "state" + key}, {"what", x + " and " + y}});
  }
}

std::string number_cell(const json& record, const char* key) {
  if (!record.contains(key) || record.value("different", 0) == 0) return "-";
  return record[key].is_number() ? fmt::format("{:.3g}", record[key].get<double>())
                                 : record[key].get<std::string>();
}

Expected<std::vector<json>> compare(const CheckpointDiffOptions& options) {
  WEFT_TRY_ASSIGN(const NamedCheckpoint left, find_checkpoint(options.a));
  WEFT_TRY_ASSIGN(const NamedCheckpoint right, find_checkpoint(options.b));
  WEFT_TRY_ASSIGN(checkpoint::Reader a, checkpoint::Reader::open(left.directory));
  WEFT_TRY_ASSIGN(checkpoint::Reader b, checkpoint::Reader::open(right.directory));
  std::vector<json> records;
  WEFT_TRY_ASSIGN(const auto found, checkpoint::differences(a, b));
  for (const checkpoint::TensorDifference& difference : found)
    if (difference.max_absolute > options.tolerance || !difference.what.empty() ||
        (options.tolerance == 0 && difference.different > 0))
      records.push_back(record_of(difference));
  WEFT_TRY_ASSIGN(const std::string state_a, a.state());
  WEFT_TRY_ASSIGN(const std::string state_b, b.state());
  add_state(state_a, state_b, records);
  return records;
}

}  // namespace

int verb_ckpt_diff(const CheckpointDiffOptions& options, Io& io) {
  const auto records = compare(options);
  if (!records) return report(records.error(), io);
  if (records->empty() && options.format == Format::Table) {
    io.err << "weft: the two are the same (equal hashes in the manifests are believed; weft ckpt "
              "verify reads every byte)\n";
    return kOk;
  }
  print_list(io, options.format, "ckpt.diff", *records,
             {{"WHAT", [](const json& r) { return cell(r, "name"); }},
              {"DIFFERENT",
               [](const json& r) {
                 return r.value("different", 0) == 0
                            ? std::string("-")
                            : fmt::format("{} of {}", r["different"].get<std::uint64_t>(),
                                          r["elements"].get<std::uint64_t>());
               },
               true},
              {"MAX ABSOLUTE", [](const json& r) { return number_cell(r, "max_absolute"); }, true},
              {"MAX RELATIVE", [](const json& r) { return number_cell(r, "max_relative"); }, true},
              {"", [](const json& r) { return r.value("what", ""); }}},
             "name");
  return records->empty() ? kOk : kNotSo;
}

}  // namespace weft::cli
