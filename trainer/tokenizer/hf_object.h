// Members of a JSON object with their path, for messages that say which file and which field. For
// the files that read tokenizer.json.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::trainer::tokenizer {

class HfObject {
 public:
  HfObject(const nlohmann::json& object, std::string where)
      : object_(&object), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  /// The path of a member; the root's path ends in a blank: "file.json: ".
  std::string where(std::string_view key) const {
    return where_ + (where_.ends_with(' ') ? "" : ".") + std::string(key);
  }
  bool has(const char* key) const {
    const auto found = object_->find(key);
    return found != object_->end() && !found->is_null();
  }
  const nlohmann::json& at(const char* key) const { return object_->at(key); }

  tl::unexpected<Error> corrupt(std::string_view what) const {
    return fail(Code::Corrupt, where_ + " " + std::string(what));
  }
  tl::unexpected<Error> unsupported(std::string_view what) const {
    return fail(Code::Unsupported, where_ + " " + std::string(what));
  }

  /// Refuses every member that is not known. Null members are as good as none.
  Expected<void> only(std::initializer_list<std::string_view> known) const {
    for (const auto& [key, value] : object_->items())
      if (!value.is_null() && std::find(known.begin(), known.end(), key) == known.end())
        return fail(Code::Unsupported,
                    where(key.substr(0, 100)) + " is a field that weft does not know");
    return {};
  }

  Expected<std::string> text(const char* key, std::string_view otherwise = "") const {
    if (!has(key)) return std::string(otherwise);
    if (!at(key).is_string()) return fail(Code::Corrupt, where(key) + " is not a text");
    return at(key).get<std::string>();
  }
  Expected<bool> flag(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    if (!at(key).is_boolean()) return fail(Code::Corrupt, where(key) + " is not true or false");
    return at(key).get<bool>();
  }
  Expected<std::int64_t> whole(const char* key) const {
    if (!has(key) || !at(key).is_number_integer() || at(key) > INT32_MAX || at(key) < INT32_MIN)
      return fail(Code::Corrupt, where(key) + " is not a whole number, or is too large");
    return at(key).get<std::int64_t>();
  }
  Expected<HfObject> object(const char* key) const {
    if (!has(key) || !at(key).is_object())
      return fail(Code::Corrupt, where(key) + " is missing or not an object");
    return HfObject(at(key), where(key));
  }
  /// The elements of an array of objects; none when the member is missing.
  Expected<std::vector<HfObject>> objects(const char* key) const {
    std::vector<HfObject> out;
    if (!has(key)) return out;
    if (!at(key).is_array()) return fail(Code::Corrupt, where(key) + " is not a list");
    for (const nlohmann::json& element : at(key)) {
      const std::string name = where(key) + "[" + std::to_string(out.size()) + "]";
      if (!element.is_object()) return fail(Code::Corrupt, name + " is not an object");
      out.emplace_back(element, name);
    }
    return out;
  }
  const nlohmann::json& raw() const { return *object_; }

 private:
  const nlohmann::json* object_;
  std::string where_;
};

}  // namespace weft::trainer::tokenizer
