#include "runtime/job/serial.h"

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "base/text.h"
#include "runtime/job/fields.h"
#include "runtime/job/validate.h"

namespace weft::runtime {
namespace {

using nlohmann::json;

constexpr std::size_t kCommentColumn = 44;

json value_json(const Field& field, const Job& job) {
  const Slot slot = field.slot(const_cast<Job&>(job));  // only read
  if (const auto* const* rewards = std::get_if<std::vector<RewardJob>*>(&slot)) {
    json list = json::array();
    for (const RewardJob& reward : **rewards)
      list.push_back({{"name", reward.name}, {"weight", reward.weight}});
    return list;
  }
  return std::visit(
      [](auto* value) -> json {
        if constexpr (std::is_same_v<decltype(value), std::vector<RewardJob>*>)
          return nullptr;
        else
          return *value;
      },
      slot);
}

tl::unexpected<Error> wrong_type(const Field& field, const json& value) {
  return fail(Code::InvalidArgument, field.path + ": " + std::string(value.type_name()) +
                                         " where " + type_text(field) + " belongs");
}

Expected<void> set_whole(const Field& field, const json& value, Slot slot) {
  if (!value.is_number_integer()) return wrong_type(field, value);
  // Unsigned values above the signed range are out of every field's range.
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > (std::uint64_t{1} << 62))
    return fail(Code::InvalidArgument, field.path + " is out of range");
  const auto whole = value.get<std::int64_t>();
  if (auto* const* big = std::get_if<std::uint64_t*>(&slot)) {
    if (whole < 0) return fail(Code::InvalidArgument, field.path + " is negative");
    **big = static_cast<std::uint64_t>(whole);
    return {};
  }
  if (whole < INT32_MIN || whole > INT32_MAX)
    return fail(Code::InvalidArgument, field.path + " is out of range");
  *std::get<int*>(slot) = static_cast<int>(whole);
  return {};
}

Expected<void> set_rewards(const Field& field, const json& value, std::vector<RewardJob>& out) {
  if (!value.is_array()) return wrong_type(field, value);
  out.clear();
  for (const json& item : value) {
    const bool good = item.is_object() && item.size() == 2 && item.contains("name") &&
                      item["name"].is_string() && item.contains("weight") &&
                      item["weight"].is_number();
    if (!good) return fail(Code::InvalidArgument, "rewards: each must be {name, weight}");
    out.push_back({item["name"].get<std::string>(), item["weight"].get<double>()});
  }
  return {};
}

Expected<void> set_json(const Field& field, const json& value, Job& job) {
  const Slot slot = field.slot(job);
  if (auto* const* flag = std::get_if<bool*>(&slot)) {
    if (!value.is_boolean()) return wrong_type(field, value);
    **flag = value.get<bool>();
  } else if (auto* const* real = std::get_if<double*>(&slot)) {
    if (!value.is_number()) return wrong_type(field, value);
    **real = value.get<double>();
  } else if (auto* const* text = std::get_if<std::string*>(&slot)) {
    if (!value.is_string()) return wrong_type(field, value);
    **text = value.get<std::string>();
  } else if (auto* const* list = std::get_if<std::vector<std::string>*>(&slot)) {
    if (!value.is_array()) return wrong_type(field, value);
    (*list)->clear();
    for (const json& item : value) {
      if (!item.is_string()) return wrong_type(field, item);
      (*list)->push_back(item.get<std::string>());
    }
  } else if (auto* const* rewards = std::get_if<std::vector<RewardJob>*>(&slot)) {
    WEFT_TRY(set_rewards(field, value, **rewards));
  } else {
    WEFT_TRY(set_whole(field, value, slot));
  }
  return check_value(field, job);
}

/// Keys that no field has.
void find_strangers(const json& object, const std::string& prefix, std::vector<std::string>& out) {
  for (const auto& [key, value] : object.items()) {
    const std::string path = prefix.empty() ? key : prefix + "." + key;
    if (find_field(path) != nullptr) continue;
    if (is_group(path) && value.is_object())
      find_strangers(value, path, out);
    else
      out.push_back("unknown field " + path);
  }
}

const json* value_at(const json& object, const Field& field) {
  const std::string group(group_of(field.path)), leaf(leaf_of(field.path));
  const json* owner = &object;
  if (!group.empty()) {
    const auto found = object.find(group);
    if (found == object.end() || !found->is_object()) return nullptr;
    owner = &*found;
  }
  const auto found = owner->find(leaf);
  return found == owner->end() ? nullptr : &*found;
}

}  // namespace

std::string to_yaml(const Job& job, const std::map<std::string, Origin, std::less<>>& origins) {
  std::string out;
  std::string_view group;
  for (const Field& field : fields()) {
    if (group_of(field.path) != group) {
      group = group_of(field.path);
      out += "\n" + std::string(group) + ":\n";
    }
    std::string line = (group.empty() ? "" : "  ") + std::string(leaf_of(field.path)) + ": " +
                       value_text(field, job);
    if (const auto origin = origins.find(field.path); origin != origins.end()) {
      line.resize(std::max(line.size(), kCommentColumn), ' ');
      line += "  # " + to_string(origin->second);
    }
    out += line + "\n";
  }
  return out;
}

nlohmann::json to_json(const Job& job) {
  json out = json::object();
  for (const Field& field : fields()) {
    const std::string group(group_of(field.path)), leaf(leaf_of(field.path));
    (group.empty() ? out : out[group])[leaf] = value_json(field, job);
  }
  return out;
}

Expected<Job> from_json(const nlohmann::json& json) {
  if (!json.is_object()) return fail(Code::InvalidArgument, "a job must be a JSON object");
  std::vector<std::string> wrong;
  find_strangers(json, "", wrong);
  Job job;
  for (const Field& field : fields()) {
    const nlohmann::json* value = value_at(json, field);
    if (value == nullptr) {
      wrong.push_back("missing field " + field.path);
    } else if (auto set = set_json(field, *value, job); !set) {
      std::string message = set.error().message;
      if (const std::size_t hint = message.find('\n'); hint != std::string::npos)
        message.replace(hint, 1, "; ");
      wrong.push_back(std::move(message));
    }
  }
  if (wrong.empty())
    for (const Problem& problem : problems(job))
      if (problem.severity == Severity::Error) wrong.push_back(problem.message);
  if (!wrong.empty()) return fail(Code::InvalidArgument, "job: " + join(wrong, "; "));
  return job;
}

std::string fingerprint(const Job& job) {
  std::string text;
  for (const Field& field : fields())
    if (field.on_resume == OnResume::Same) text += field.path + "=" + value_text(field, job) + "\n";
  std::array<char, 17> out;
  std::snprintf(out.data(), out.size(), "%016llx", static_cast<unsigned long long>(fnv1a(text)));
  return out.data();
}

std::vector<std::string> numeric_differences(const Job& a, const Job& b) {
  std::vector<std::string> out;
  for (const Field& field : fields())
    if (field.on_resume == OnResume::Same && value_text(field, a) != value_text(field, b))
      out.push_back(field.path);
  return out;
}

}  // namespace weft::runtime
