#include "runtime/cli/number_rows.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/text.h"

namespace weft::cli {
namespace {

using nlohmann::json;

constexpr std::size_t kBytesMax = std::size_t{256} << 20;
// So many mistakes are told; a file of another kind would bring thousands.
constexpr std::size_t kWrongMax = 10;

/// Takes the events of nlohmann's parser. Depth: 1 inside the object, 2 inside the list, 3 inside a
/// row; `skipped_` counts what is open in members that are not wanted.
class Rows : public nlohmann::json_sax<json> {
 public:
  Rows(const std::string& key, bool whole) : wanted_(key), whole_(whole) {}

  std::vector<std::vector<double>> rows;
  std::vector<std::string> wrong;
  std::size_t broken_at = 0;
  bool found = false, is_object = false;

  bool null() override { return other(); }
  bool boolean(bool) override { return other(); }
  bool string(string_t&) override { return other(); }
  bool binary(binary_t&) override { return other(); }
  bool number_integer(number_integer_t value) override {
    return number(static_cast<double>(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return number(static_cast<double>(value));
  }
  bool number_float(number_float_t value, const string_t&) override {
    return whole_ ? other() : number(value);
  }
  bool start_object(std::size_t) override {
    if (depth_ > 0) return open(false);
    is_object = true;
    depth_ = 1;
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(true); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (skipped_ == 0 && depth_ == 1) {
      inside_ = name == wanted_;
      if (inside_ && found) return note(" is there twice");
      found |= inside_;
    }
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    broken_at = std::max<std::size_t>(position, 1);
    return false;
  }

 private:
  bool note(const std::string& text) {
    wrong.push_back(text);
    return wrong.size() < kWrongMax;
  }
  std::string layer() const { return " layer " + std::to_string(rows.size() - 1); }
  bool no_list() {
    if (depth_ == 1) return note(" must be a list with one list for each layer");
    rows.emplace_back();
    return note(layer() + " is no list");
  }
  bool no_number() {
    rows.back().push_back(0);
    return note(layer() + " entry " + std::to_string(rows.back().size() - 1) + " is no " +
                (whole_ ? "whole number" : "number"));
  }
  bool other() {
    if (skipped_ > 0 || !inside_) return true;
    return depth_ < 3 ? no_list() : no_number();
  }
  bool number(double value) {
    if (skipped_ > 0 || !inside_) return true;
    if (depth_ < 3) return no_list();
    rows.back().push_back(value);
    return true;
  }
  bool open(bool list) {
    if (depth_ == 0) return false;  // the file's value is no object
    if (skipped_ > 0 || !inside_ || depth_ == 3 || !list) {
      const bool good = skipped_ > 0 || !inside_ || (depth_ == 3 ? no_number() : no_list());
      ++skipped_;
      return good;
    }
    if (++depth_ == 3) rows.emplace_back().reserve(length_);
    return true;
  }
  bool close() {
    if (skipped_ > 0) {
      --skipped_;
      return true;
    }
    bool good = true;
    if (depth_ == 3) {
      const std::size_t length = rows.back().size();
      if (length == 0)
        good = note(layer() + " is empty");
      else if (length_ > 0 && length != length_)
        good = note(layer() + " has " + std::to_string(length) + " entries, those before it have " +
                    std::to_string(length_));
      if (length_ == 0) length_ = length;
    }
    --depth_;
    return good;
  }

  std::string wanted_;
  bool whole_, inside_ = false;
  int depth_ = 0, skipped_ = 0;
  std::size_t length_ = 0;  // of the first row that has any
};

/// "12:5": line and column of a byte, both from 1.
std::string place_of(const std::string& text, std::size_t byte) {
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(byte, text.size() + 1) - 1);
  const auto lines = std::count(text.begin(), end, '\n');
  const auto start = std::find(std::make_reverse_iterator(end), text.rend(), '\n').base();
  return std::to_string(lines + 1) + ":" + std::to_string(end - start + 1);
}

}  // namespace

Expected<std::vector<std::vector<double>>> read_number_rows(const std::string& path,
                                                            const std::string& key, bool whole) {
  WEFT_TRY_ASSIGN(const std::string text, read_file(path, kBytesMax));
  Rows reader(key, whole);
  const bool read = json::sax_parse(text, &reader);
  const std::string where = path + ": \"" + key + "\"";
  if (!reader.wrong.empty()) {
    for (std::string& one : reader.wrong) one = where + one;
    return fail(Code::InvalidArgument, join(reader.wrong, "\n  "));
  }
  if (reader.broken_at > 0)
    return fail(Code::InvalidArgument,
                path + ":" + place_of(text, reader.broken_at) + ": this is no JSON from here on");
  if (!read || !reader.is_object)
    return fail(Code::InvalidArgument, path + ": this is no JSON object; expected {\"" + key +
                                           "\": [[a number for each], … per layer]}");
  if (!reader.found || reader.rows.empty())
    return fail(Code::InvalidArgument, where + " must be a list with one list for each layer");
  return std::move(reader.rows);
}

}  // namespace weft::cli
