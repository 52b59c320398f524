// Oniguruma's syntax read once, and written as PCRE2's.
#include <algorithm>
#include <array>
#include <cctype>

#include "trainer/tokenizer/regex.h"

namespace weft::trainer::tokenizer {
namespace {

// Unicode White_Space and its complement, as the inside of a class.
constexpr std::string_view kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNoSpace =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff})"
    R"(\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";

// Names after \p that are no scripts.
constexpr std::array<std::string_view, 43> kCategories = {
    "C",  "Cc", "Cf", "Cn", "Co", "Cs", "L",   "L&",         "LC",        "Ll",       "Lm",
    "Lo", "Lt", "Lu", "M",  "Mc", "Me", "Mn",  "N",          "Nd",        "Nl",       "No",
    "P",  "Pc", "Pd", "Pe", "Pf", "Pi", "Po",  "Ps",         "S",         "Sc",       "Sk",
    "Sm", "So", "Z",  "Zl", "Zp", "Zs", "Any", "Alphabetic", "Lowercase", "Uppercase"};

bool is_hex(char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_ascii_word(char c) {
  return static_cast<unsigned char>(c) < 0x80 && std::isalnum(static_cast<unsigned char>(c)) != 0;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  Expected<std::string> run() {
    while (at_ < in_.size()) {
      if (in_class_)
        WEFT_TRY(class_character());
      else
        WEFT_TRY(character());
    }
    if (in_class_) return refuse("a class that is not closed");
    return std::move(out_);
  }

 private:
  char peek(std::size_t n = 0) const { return at_ + n < in_.size() ? in_[at_ + n] : '\0'; }
  bool next_is(std::string_view text) const { return in_.substr(at_).starts_with(text); }
  Expected<void> copy(std::size_t n) {
    out_ += in_.substr(at_, n);
    at_ += n;
    return {};
  }
  Expected<void> write(std::string_view text, std::size_t taken) {
    out_ += text;
    at_ += taken;
    return {};
  }
  tl::unexpected<Error> refuse(std::string_view what) const {
    return fail(Code::InvalidArgument, "the pattern has " + std::string(what) + " at byte " +
                                           std::to_string(at_) + ", which weft does not read");
  }

  Expected<void> character() {
    switch (peek()) {
      case '\\':
        return escape();
      case '[':
        return open_class();
      case '(':
        return open_group();
      case '{':
        return braces();
      default:
        return copy(1);
    }
  }

  Expected<void> open_class() {
    in_class_ = true;
    WEFT_TRY(copy(1));
    if (peek() == '^') WEFT_TRY(copy(1));
    if (peek() == ']') return refuse("an empty class");
    return {};
  }

  Expected<void> class_character() {
    if (peek() == '[')
      return refuse(peek(1) == ':' ? "a POSIX class" : "a class inside a class (write \\[)");
    if (next_is("&&")) return refuse("an intersection of classes (&&)");
    if (peek() == '\\') return escape();
    in_class_ = peek() != ']';
    return copy(1);
  }

  Expected<void> open_group() {
    if (peek(1) == '*') return refuse("a verb (*…)");
    if (peek(1) != '?') return copy(1);
    for (const std::string_view known : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"})
      if (next_is(known)) return copy(known.size());
    if (next_is("(?i)") && at_ == 0) return copy(4);
    return refuse("the group " + std::string(in_.substr(at_, 4)));
  }

  /// A repeat, or braces that stand for themselves.
  Expected<void> braces() {
    std::size_t end = at_ + 1;
    while (end < in_.size() && (is_digit(in_[end]) || in_[end] == ',')) ++end;
    const std::string_view inside = in_.substr(at_ + 1, end - at_ - 1);
    const bool repeat = end < in_.size() && in_[end] == '}' && inside != "," && !inside.empty() &&
                        std::ranges::count(inside, ',') <= 1;
    if (!repeat) return write("\\{", 1);
    const char after = end + 1 < in_.size() ? in_[end + 1] : '\0';
    if (after == '+') return refuse("a repeat of a repeat, x{n,m}+");
    const bool exactly = inside.find(',') == std::string_view::npos;
    if (after == '?' && exactly) return refuse("an optional repeat, x{n}?");
    const std::string text = (inside.front() == ',' ? "{0" : "{") + std::string(inside) + "}";
    return write(text, end + 1 - at_);
  }

  Expected<void> escape() {
    const char c = peek(1);
    switch (c) {
      case '\0':
        return refuse("a backslash and nothing after it");
      case 's':
        return space(kSpace);
      case 'S':
        return space(kNoSpace);
      case 'v':
        return write("\\x{b}", 2);
      case 'u':
        return code_point(2, 4);
      case 'x':
        return hexadecimal();
      case 'p':
      case 'P':
        return property();
      case 'd':
      case 'D':
      case 't':
      case 'n':
      case 'r':
      case 'f':
      case 'a':
      case 'e':
        return copy(2);
      case 'A':
      case 'z':
        if (!in_class_) return copy(2);
        break;
      default:
        break;
    }
    if (is_ascii_word(c)) return refuse("the escape \\" + std::string(1, c));
    if (static_cast<unsigned char>(c) >= 0x80) return write("", 1);  // the character itself follows
    return copy(2);
  }

  Expected<void> space(std::string_view inside) {
    if (in_class_) return write(inside, 2);
    return write("[" + std::string(inside) + "]", 2);
  }

  /// \uHHHH: the digits begin at `from`.
  Expected<void> code_point(std::size_t from, std::size_t digits) {
    for (std::size_t i = 0; i < digits; ++i)
      if (!is_hex(peek(from + i))) return refuse("a broken code point");
    const std::string text = "\\x{" + std::string(in_.substr(at_ + from, digits)) + "}";
    return write(text, from + digits);
  }

  Expected<void> hexadecimal() {
    if (peek(2) != '{') return code_point(2, 2);
    std::size_t digits = 0;
    while (is_hex(peek(3 + digits))) ++digits;
    if (digits == 0 || digits > 6 || peek(3 + digits) != '}') return refuse("a broken code point");
    return copy(4 + digits);
  }

  Expected<void> property() {
    const std::size_t end = in_.find('}', at_);
    if (peek(2) != '{' || end == std::string_view::npos) return refuse("a property without {}");
    std::string_view name = in_.substr(at_ + 3, end - at_ - 3);
    const bool negated = name.starts_with('^');
    if (negated) name.remove_prefix(1);
    const bool plain = !name.empty() && std::ranges::all_of(name, [](char c) {
      return is_ascii_word(c) || c == '_' || c == '&';
    });
    if (!plain) return refuse("the property '" + std::string(name) + "'");
    const bool category = std::ranges::find(kCategories, name) != kCategories.end();
    const std::string text = "\\" + std::string(1, peek(1)) + "{" + (negated ? "^" : "") +
                             (category ? "" : "sc:") + std::string(name) + "}";
    return write(text, end + 1 - at_);
  }

  std::string_view in_;
  std::string out_;
  std::size_t at_ = 0;
  bool in_class_ = false;
};

}  // namespace

Expected<std::string> to_pcre2(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace weft::trainer::tokenizer
