// Reading members of a JSON object that nobody vouches for; not for others to include. The first
// thing wrong is kept, and what is read after it is a harmless default.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/expected.h"
#include "runtime/coordinator/messages.h"

namespace weft::runtime {

class JsonFields {
 public:
  /// `where` is put before the member's name in errors. `object` and `error` must outlive this.
  JsonFields(const nlohmann::json& object, std::string where, std::optional<Error>& error)
      : object_(object), where_(std::move(where)), error_(error) {
    if (!object.is_object()) wrong("", "is no object");
  }

  bool has(const char* name) const { return object_.is_object() && object_.contains(name); }

  bool is_null(const char* name) const { return has(name) && object_.at(name).is_null(); }

  std::int64_t integer(const char* name, std::int64_t low = 0,
                       std::int64_t high = std::numeric_limits<std::int64_t>::max()) {
    const nlohmann::json* member = find(name);
    if (member == nullptr) return low;
    if (!member->is_number_integer() ||
        (member->is_number_unsigned() && member->get<std::uint64_t>() > std::uint64_t{INT64_MAX})) {
      wrong(name, "is no whole number");
      return low;
    }
    const auto value = member->get<std::int64_t>();
    if (value >= low && value <= high) return value;
    wrong(name, "is " + std::to_string(value) + ", which is out of range");
    return low;
  }
  int small(const char* name, int low = 0, int high = 1 << 20) {
    return static_cast<int>(integer(name, low, high));
  }
  std::uint64_t number(const char* name) {
    const nlohmann::json* member = find(name);
    if (member == nullptr) return 0;
    if (member->is_number_unsigned()) return member->get<std::uint64_t>();
    wrong(name, "is no whole number");
    return 0;
  }
  bool boolean(const char* name) {
    const nlohmann::json* member = find(name);
    if (member == nullptr) return false;
    if (member->is_boolean()) return member->get<bool>();
    wrong(name, "is not true or false");
    return false;
  }
  std::string text(const char* name, std::size_t size_max = 1 << 16) {
    const nlohmann::json* member = find(name);
    if (member == nullptr) return "";
    if (!member->is_string()) {
      wrong(name, "is no text");
      return "";
    }
    const auto& value = member->get_ref<const std::string&>();
    if (value.size() <= size_max) return value;
    wrong(name, "is too long");
    return "";
  }
  /// Nanoseconds, within 300 years.
  Duration duration(const char* name) {
    return Duration(integer(name, -(std::int64_t{1} << 62), std::int64_t{1} << 62));
  }
  /// One of `count` enumerators, as a name that `name_of` gives.
  template <class Enum>
  Enum one_of(const char* name, int count, const char* (*name_of)(Enum)) {
    const std::string word = text(name, 64);
    for (int i = 0; i < count; ++i)
      if (word == name_of(static_cast<Enum>(i))) return static_cast<Enum>(i);
    wrong(name, "is '" + word + "', which this build does not know");
    return static_cast<Enum>(0);
  }
  /// Empty when missing or wrong.
  const nlohmann::json& array(const char* name, std::size_t size_max = 1 << 21) {
    static const nlohmann::json kEmpty = nlohmann::json::array();
    const nlohmann::json* member = find(name);
    if (member == nullptr) return kEmpty;
    if (!member->is_array() || member->size() > size_max) {
      wrong(name, "is no array of a possible size");
      return kEmpty;
    }
    return *member;
  }
  JsonFields object(const char* name) {
    static const nlohmann::json kEmpty = nlohmann::json::object();
    const nlohmann::json* member = find(name);
    return {member == nullptr ? kEmpty : *member, path(name), error_};
  }
  JsonFields element(const nlohmann::json& element, const char* name, std::size_t index) {
    return {element, path(name) + "[" + std::to_string(index) + "]", error_};
  }

  void wrong(const std::string& name, const std::string& what) {
    if (!error_) error_ = Error{Code::Corrupt, path(name) + " " + what};
  }

 private:
  std::string path(const std::string& name) const {
    return name.empty() ? where_ : where_.empty() ? name : where_ + "." + name;
  }
  const nlohmann::json* find(const char* name) {
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(name);
    if (found != object_.end()) return &*found;
    wrong(name, "is missing");
    return nullptr;
  }

  const nlohmann::json& object_;
  std::string where_;
  std::optional<Error>& error_;
};

/// A pair of whole numbers from 0 up to `high`.
inline bool is_index_pair(const nlohmann::json& value, std::int64_t high = 1 << 20) {
  if (!value.is_array() || value.size() != 2) return false;
  for (const nlohmann::json& part : value)
    if (!part.is_number_integer() || part < 0 || part > high) return false;
  return true;
}

// What both files of JSON need.
nlohmann::json put_checkpoint(const std::optional<Checkpoint>& checkpoint);
std::optional<Checkpoint> get_checkpoint(JsonFields& parent, const char* name);
nlohmann::json put_facts(const NodeFacts& facts);
NodeFacts get_facts(JsonFields fields);

}  // namespace weft::runtime
