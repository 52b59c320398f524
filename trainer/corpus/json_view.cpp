#include "trainer/corpus/json_view.h"

#include <algorithm>
#include <array>

namespace weft::trainer::corpus {
namespace {

using Kind = JsonView::Kind;

constexpr int kDepthMax = 64;

constexpr bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Bytes that a string may hold as they are, one after another: all but quote, backslash, controls.
constexpr std::array<bool, 256> kPlain = [] {
  std::array<bool, 256> plain{};
  for (int c = 0x20; c < 256; ++c) plain[static_cast<std::size_t>(c)] = c != '"' && c != '\\';
  return plain;
}();

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void append_utf8(std::string& out, unsigned code) {
  const auto put = [&](unsigned byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

/// Walks a text once. `what` says what was wrong where `at` stands then.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool value(JsonView& out, int depth) {
    blanks();
    if (at_ >= text_.size()) return wrong("the line ends where a value belongs");
    const std::size_t begin = at_;
    bool good = false;
    switch (text_[at_]) {
      case '{':
        out.kind = Kind::Object;
        good = container('}', depth);
        break;
      case '[':
        out.kind = Kind::Array;
        good = container(']', depth);
        break;
      case '"':
        out.kind = Kind::String;
        if (!string()) return false;
        out.raw = text_.substr(begin + 1, at_ - begin - 2);
        return true;
      case 't':
        out.kind = Kind::Bool;
        good = word("true");
        break;
      case 'f':
        out.kind = Kind::Bool;
        good = word("false");
        break;
      case 'n':
        out.kind = Kind::Null;
        good = word("null");
        break;
      default:
        out.kind = Kind::Number;
        good = number();
    }
    out.raw = text_.substr(begin, at_ - begin);
    return good;
  }

  bool end() {
    blanks();
    return at_ == text_.size() || wrong("something follows the value");
  }

  void blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }
  bool take(char c) {
    blanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  std::size_t at() const { return at_; }
  const std::string& what() const { return what_; }

 private:
  bool wrong(const char* what) {
    if (what_.empty()) what_ = what;
    return false;
  }

  bool container(char close, int depth) {
    if (depth >= kDepthMax) return wrong("values are nested too deeply");
    ++at_;
    if (take(close)) return true;
    for (;;) {
      if (close == '}') {
        blanks();
        if (at_ >= text_.size() || text_[at_] != '"') return wrong("a key in quotes belongs here");
        if (!string()) return false;
        if (!take(':')) return wrong("a ':' belongs after the key");
      }
      JsonView ignored;
      if (!value(ignored, depth + 1)) return false;
      if (take(close)) return true;
      if (!take(','))
        return wrong(at_ >= text_.size() ? "the line ends inside a list or an object"
                                         : "a ',' or the end belongs here");
    }
  }

  bool string() {
    ++at_;
    for (;;) {
      while (at_ < text_.size() && kPlain[static_cast<unsigned char>(text_[at_])]) ++at_;
      if (at_ >= text_.size()) return wrong("the line ends inside a string");
      if (text_[at_] == '"') return ++at_, true;
      if (text_[at_] != '\\') return wrong("a control character stands inside a string");
      if (!escape()) return false;
    }
  }

  bool escape() {
    ++at_;
    if (at_ >= text_.size()) return wrong("the line ends inside a string");
    const char c = text_[at_];
    if (c != 'u') {
      if (std::string_view("\"\\/bfnrt").find(c) == std::string_view::npos)
        return wrong("there is no such escape");
      return ++at_, true;
    }
    const int first = code_unit();
    if (first < 0 || (first >= 0xDC00 && first < 0xE000)) return wrong("a broken \\u escape");
    if (first < 0xD800 || first >= 0xE000) return true;
    if (at_ + 1 >= text_.size() || text_[at_] != '\\' || text_[at_ + 1] != 'u')
      return wrong("half of a surrogate pair");
    ++at_;
    const int second = code_unit();
    return (second >= 0xDC00 && second < 0xE000) || wrong("half of a surrogate pair");
  }

  /// At the 'u'; past the four digits afterwards.
  int code_unit() {
    if (at_ + 4 >= text_.size()) return -1;
    int code = 0;
    for (std::size_t i = 1; i <= 4; ++i) {
      const int digit = hex_value(text_[at_ + i]);
      if (digit < 0) return -1;
      code = code * 16 + digit;
    }
    at_ += 5;
    return code;
  }

  bool word(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected) return wrong("this is no JSON value");
    at_ += expected.size();
    return true;
  }

  bool digits() {
    if (at_ >= text_.size() || !is_digit(text_[at_])) return wrong("this is no JSON value");
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    return true;
  }

  bool number() {
    if (text_[at_] == '-') ++at_;
    if (at_ < text_.size() && text_[at_] == '0')
      ++at_;
    else if (!digits())
      return false;
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      if (!digits()) return false;
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      ++at_;
      if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
      if (!digits()) return false;
    }
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string what_;
};

}  // namespace

Expected<JsonView> parse_json_view(std::string_view text) {
  Scanner scanner(text);
  JsonView view;
  if (scanner.value(view, 0) && scanner.end()) return view;
  return fail(Code::Corrupt,
              scanner.what() + " (byte " + std::to_string(scanner.at() + 1) + " of the line)");
}

std::vector<JsonMember> members(const JsonView& object) {
  std::vector<JsonMember> out;
  if (object.kind != Kind::Object) return out;
  Scanner scanner(object.raw);
  if (!scanner.take('{') || scanner.take('}')) return out;
  do {
    JsonView key, value;
    if (!scanner.value(key, 1) || !scanner.take(':') || !scanner.value(value, 1)) break;
    out.push_back({unescaped(key), value});
  } while (scanner.take(','));
  return out;
}

std::vector<JsonView> items(const JsonView& array) {
  std::vector<JsonView> out;
  if (array.kind != Kind::Array) return out;
  Scanner scanner(array.raw);
  if (!scanner.take('[') || scanner.take(']')) return out;
  do {
    JsonView item;
    if (!scanner.value(item, 1)) break;
    out.push_back(item);
  } while (scanner.take(','));
  return out;
}

std::string unescaped(const JsonView& string) {
  const std::string_view raw = string.raw;
  std::string out;
  if (string.kind != Kind::String) return out;
  out.reserve(raw.size());
  for (std::size_t i = 0; i < raw.size();) {
    const std::size_t slash = std::min(raw.find('\\', i), raw.size());
    out.append(raw, i, slash - i);
    if (slash + 1 >= raw.size()) break;
    const char c = raw[slash + 1];
    i = slash + 2;
    if (c != 'u') {
      static constexpr std::string_view kFrom = "bfnrt", kTo = "\b\f\n\r\t";
      const std::size_t at = kFrom.find(c);
      out.push_back(at == std::string_view::npos ? c : kTo[at]);
      continue;
    }
    const auto unit = [&](std::size_t at) {
      unsigned code = 0;
      for (std::size_t d = at; d < at + 4 && d < raw.size(); ++d)
        code = code * 16 + static_cast<unsigned>(hex_value(raw[d]));
      return code;
    };
    unsigned code = unit(i);
    i += 4;
    if (code >= 0xD800 && code < 0xDC00) {
      code = 0x10000 + ((code - 0xD800) << 10) + (unit(i + 2) - 0xDC00);
      i += 6;
    }
    append_utf8(out, code);
  }
  return out;
}

}  // namespace weft::trainer::corpus
