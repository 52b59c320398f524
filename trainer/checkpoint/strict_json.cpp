#include "trainer/checkpoint/strict_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace weft::trainer::checkpoint {
namespace {

using nlohmann::json;

/// Builds the value while the parser reads; every method returns false to stop it there.
class Builder {
 public:
  Builder(JsonLimits limits, const TakeElement* take) : limits_(limits), take_(take) {}
  json root;
  Error error{Code::Corrupt, ""};

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
    error.message = std::move(why);
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
    const json* const closed = stack_.back();
    stack_.pop_back();
    return closed != &element_ || hand_over();
  }

  bool hand_over() {
    const Expected<void> taken = (*take_)(list_, element_);
    if (!taken) error = taken.error();
    return taken.has_value();
  }

  json* place(json value) {
    if (stack_.empty()) {
      root = std::move(value);
      return &root;
    }
    json& parent = *stack_.back();
    if (parent.is_object()) {
      if (stack_.size() == 1) list_ = key_;
      return &(parent[key_] = std::move(value));
    }
    if (take_ && stack_.size() == 2) {  // an element of one of the root's lists
      element_ = std::move(value);
      if (element_.is_structured() || hand_over()) return &element_;
      return nullptr;
    }
    if (parent.size() >= limits_.array) {
      stop("an array has more than " + std::to_string(limits_.array) + " elements");
      return nullptr;
    }
    parent.push_back(std::move(value));
    return &parent.back();
  }

  JsonLimits limits_;
  const TakeElement* take_;   // null: lists stay in the value
  std::string list_;          // the root's member that is being read
  json element_;              // of that list
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

namespace {

Expected<json> parse(std::string_view text, JsonLimits limits, const TakeElement* take) {
  // The library takes a NUL for the end of its input, and would not see what stands behind it.
  if (const auto at = text.find('\0'); at != text.npos)
    return fail(Code::Corrupt, "not valid JSON at byte " + std::to_string(at) + ": a NUL");
  Builder builder(limits, take);
  if (!json::sax_parse(text.data(), text.data() + text.size(), &builder))
    return tl::unexpected(std::move(builder.error));
  return std::move(builder.root);
}

}  // namespace

Expected<json> parse_json(std::string_view text, JsonLimits limits) {
  return parse(text, limits, nullptr);
}

Expected<json> parse_json_lists(std::string_view text, const TakeElement& take, JsonLimits limits) {
  return parse(text, limits, &take);
}

Expected<void> append_json_string(std::string& out, std::string_view text) {
  const bool plain = std::ranges::all_of(
      text, [](char c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\'; });
  if (!plain) WEFT_TRY(check_utf8(text, "text that JSON cannot hold: it"));
  out += plain ? '"' + std::string(text) + '"' : json(text).dump();
  return {};
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
