#include "trainer/checkpoint/strict_json.h"

#include <nlohmann/json.hpp>

namespace weft::trainer::checkpoint {
namespace {

using nlohmann::json;

/// Builds the value while the parser reads; every method returns false to stop it there.
class Builder {
 public:
  explicit Builder(JsonLimits limits) : limits_(limits) {}
  json root;
  std::string error;

  bool null() { return put(nullptr); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(std::int64_t value) { return put(value); }
  bool number_unsigned(std::uint64_t value) { return put(value); }
  bool number_float(double value, const std::string&) { return put(value); }
  bool string(std::string& value) { return put(std::move(value)); }
  bool binary(std::vector<std::uint8_t>&) { return stop("binary values have no place here"); }
  bool start_object(std::size_t) { return open(json::object()); }
  bool start_array(std::size_t) { return open(json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(std::string& name) {
    if (stack_.back()->contains(name))
      return stop("the key '" + name.substr(0, 200) + "' appears twice");
    key_ = std::move(name);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const json::exception& exception) {
    return stop("not valid JSON at byte " + std::to_string(position) + ": " + exception.what());
  }

 private:
  bool stop(std::string why) {
    error = std::move(why);
    return false;
  }

  bool put(json value) { return place(std::move(value)) != nullptr; }

  bool open(json value) {
    if (stack_.size() >= limits_.depth)
      return stop("nested more than " + std::to_string(limits_.depth) + " deep");
    json* const placed = place(std::move(value));
    if (placed) stack_.push_back(placed);
    return placed != nullptr;
  }

  bool close() {
    stack_.pop_back();
    return true;
  }

  json* place(json value) {
    if (stack_.empty()) {
      root = std::move(value);
      return &root;
    }
    json& parent = *stack_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(value));
    if (parent.size() >= limits_.array) {
      stop("an array has more than " + std::to_string(limits_.array) + " elements");
      return nullptr;
    }
    parent.push_back(std::move(value));
    return &parent.back();
  }

  JsonLimits limits_;
  std::vector<json*> stack_;  // parents of the value being read; stable: only the last one grows
  std::string key_;
};

tl::unexpected<Error> wrong(const char* key, const char* wanted) {
  return fail(Code::Corrupt, std::string("'") + key + "' must be " + wanted);
}

const json* member(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() ? nullptr : &*it;
}

}  // namespace

Expected<json> parse_json(std::string_view text, JsonLimits limits) {
  // The library takes a NUL for the end of its input, and would not see what stands behind it.
  if (const auto at = text.find('\0'); at != text.npos)
    return fail(Code::Corrupt, "not valid JSON at byte " + std::to_string(at) + ": a NUL");
  Builder builder(limits);
  if (!json::sax_parse(text.begin(), text.end(), &builder))
    return fail(Code::Corrupt, builder.error);
  return std::move(builder.root);
}

Expected<std::string> get_string(const json& object, const char* key) {
  const json* const value = member(object, key);
  if (!value || !value->is_string()) return wrong(key, "a string");
  return value->get<std::string>();
}

Expected<std::uint64_t> get_unsigned(const json& object, const char* key) {
  const json* const value = member(object, key);
  if (!value || !value->is_number_unsigned()) return wrong(key, "a whole number, 0 or more");
  return value->get<std::uint64_t>();
}

Expected<std::vector<std::int64_t>> get_shape(const json& object, const char* key) {
  const json* const value = member(object, key);
  if (!value || !value->is_array()) return wrong(key, "a list of sizes");
  std::vector<std::int64_t> shape;
  for (const json& size : *value) {
    if (!size.is_number_unsigned() || size.get<std::uint64_t>() > std::uint64_t{1} << 62)
      return wrong(key, "a list of whole numbers from 0 to 2^62");
    shape.push_back(static_cast<std::int64_t>(size.get<std::uint64_t>()));
  }
  return shape;
}

Expected<const json*> get_array(const json& object, const char* key) {
  const json* const value = member(object, key);
  if (!value || !value->is_array()) return wrong(key, "a list");
  return value;
}

Expected<const json*> get_object(const json& object, const char* key) {
  const json* const value = member(object, key);
  if (!value || !value->is_object()) return wrong(key, "an object");
  return value;
}

Expected<void> check_utf8(std::string_view text, std::string_view what) {
  try {
    (void)json(text).dump();
  } catch (const json::exception&) {
    return fail(Code::InvalidArgument, std::string(what) + " is not valid UTF-8");
  }
  return {};
}

}  // namespace weft::trainer::checkpoint
