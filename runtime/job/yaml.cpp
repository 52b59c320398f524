#include "runtime/job/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <optional>
#include <set>
#include <sstream>

namespace weft::runtime {
namespace {

constexpr std::size_t kBytesMax = std::size_t{1} << 20;
constexpr int kDepthMax = 32;

/// Stops yaml-cpp at the first thing that makes the rest meaningless. Never leaves this file.
struct Stop {};

class Source {
 public:
  Source(std::string text, std::string file) : text_(std::move(text)), file_(std::move(file)) {
    for (std::size_t i = 0; i < text_.size(); ++i)
      if (text_[i] == '\n') starts_.push_back(i + 1);
  }
  const std::string& text() const { return text_; }

  /// yaml-cpp counts from 0, and past the end when something is missing there.
  Position position(const YAML::Mark& mark, int length = 1) const {
    const int line = std::clamp(mark.line, 0, static_cast<int>(starts_.size()) - 1);
    const int width = static_cast<int>(this->line(line).size());
    return {line + 1, std::clamp(mark.column, 0, width) + 1, length};
  }
  std::string_view line(int index) const {
    const std::size_t start = starts_[static_cast<std::size_t>(index)];
    return std::string_view(text_).substr(start, text_.find('\n', start) - start);
  }
  /// The rest of the line from a position on.
  std::string_view rest(const Position& at) const {
    const std::string_view whole = line(at.line - 1);
    return whole.substr(std::min(static_cast<std::size_t>(at.column - 1), whole.size()));
  }
  Diagnostic error(const Position& at, std::string message, std::string hint) const {
    const std::string shown(at.line > 0 ? line(at.line - 1) : "");
    return {Severity::Error, file_, at, shown, std::move(message), std::move(hint), ""};
  }

 private:
  std::string text_, file_;
  std::vector<std::size_t> starts_ = {0};
};

/// Bytes from the opening quote to the closing one, or nothing when the line ends before.
std::optional<int> quoted_length(std::string_view rest) {
  const char quote = rest.front();
  for (std::size_t i = 1; i < rest.size(); ++i) {
    if (quote == '"' && rest[i] == '\\') {
      ++i;
    } else if (rest[i] == quote) {
      const bool doubled = quote == '\'' && i + 1 < rest.size() && rest[i + 1] == quote;
      if (!doubled) return static_cast<int>(i + 1);
      ++i;
    }
  }
  return std::nullopt;
}

class Builder final : public YAML::EventHandler {
 public:
  Builder(const Source& source, YamlDocument& out) : source_(source), out_(out) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1)
      stop(source_.position(mark), "a second document starts here",
           "one job a file: delete everything from '---' on");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    YamlNode node;
    node.at = source_.position(mark);
    add(std::move(node));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    stop(source_.position(mark), "aliases (*name) are not part of a job file",
         "write the value out");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    YamlNode node;
    node.kind = YamlNode::Kind::Scalar;
    node.text = value;
    node.at = source_.position(mark);
    const std::string_view rest = source_.rest(node.at);
    node.quoted = tag == "!" && !rest.empty() && (rest[0] == '\'' || rest[0] == '"');
    node.at.length = node.quoted ? length_of_quoted(node.at) : length_of_plain(rest, value);
    add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::List, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::Map, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

  /// What was read before a Stop is still worth checking.
  void close_all() {
    while (!open_.empty()) {
      Frame frame = std::move(open_.back());
      open_.pop_back();
      if (open_.empty()) {
        add(std::move(frame.node));
      } else if (Frame& owner = open_.back(); owner.entry) {
        add_value(owner,
                  std::move(frame.node));  // an item of a list, or a would-be key, is dropped
      }
    }
  }

 private:
  struct Frame {
    YamlNode node;
    std::optional<YamlEntry> entry;  // Map: a key that waits for its value
    std::set<std::string> keys;
  };

  [[noreturn]] void stop(const Position& at, std::string message, std::string hint) {
    out_.errors.push_back(source_.error(at, std::move(message), std::move(hint)));
    throw Stop{};
  }
  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor)
      stop(source_.position(mark), "anchors (&name) are not part of a job file",
           "write the value out where it is needed");
  }
  void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!")
      stop(source_.position(mark), "tags (!type) are not part of a job file",
           "every field has its own type already");
  }
  int length_of_quoted(const Position& at) {
    const std::optional<int> length = quoted_length(source_.rest(at));
    if (!length)
      stop({at.line, at.column, static_cast<int>(source_.rest(at).size())},
           "this quoted text does not end on its line",
           std::string("close it with ") + source_.rest(at).front());
    return *length;
  }
  static int length_of_plain(std::string_view rest, const std::string& value) {
    const bool on_one_line = rest.substr(0, value.size()) == value;
    return on_one_line ? std::max(static_cast<int>(value.size()), 1) : 1;
  }
  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    if (static_cast<int>(open_.size()) >= kDepthMax)
      stop(source_.position(mark), "nested too deeply", "a job file needs three levels");
    Frame frame;
    frame.node.kind = kind;
    frame.node.at = source_.position(mark);
    open_.push_back(std::move(frame));
  }
  void close() {
    Frame frame = std::move(open_.back());
    open_.pop_back();
    if (frame.entry) frame.node.entries.push_back(std::move(*frame.entry));
    add(std::move(frame.node));
  }
  void add(YamlNode node) {
    if (open_.empty()) {
      out_.root = std::move(node);
      return;
    }
    Frame& frame = open_.back();
    if (frame.node.kind == YamlNode::Kind::List) {
      frame.node.items.push_back(std::move(node));
    } else if (!frame.entry) {
      add_key(frame, node);
    } else {
      add_value(frame, std::move(node));
    }
  }
  void add_key(Frame& frame, const YamlNode& node) {
    if (node.kind != YamlNode::Kind::Scalar)
      stop(node.at, "a key must be a word", "write 'key: value'");
    if (node.text == "<<")
      stop(node.at, "merges (<<) are not part of a job file", "write the keys out");
    if (!frame.keys.insert(node.text).second)
      out_.errors.push_back(source_.error(node.at, "duplicate key '" + node.text + "'",
                                          "keep one of them; the first stands above"));
    frame.entry = YamlEntry{node.text, node.at, {}};
  }
  void add_value(Frame& frame, YamlNode node) {
    const Position& key = frame.entry->key_at;
    if (node.kind == YamlNode::Kind::Null && node.at.line != key.line)
      node.at = {key.line, key.column + key.length, 1};
    const bool duplicate = std::ranges::any_of(
        frame.node.entries, [&](const YamlEntry& e) { return e.key == frame.entry->key; });
    if (!duplicate) {
      frame.entry->value = std::move(node);
      frame.node.entries.push_back(std::move(*frame.entry));
    }
    frame.entry.reset();
  }

  const Source& source_;
  YamlDocument& out_;
  std::vector<Frame> open_;
  int documents_ = 0;
};

bool continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

/// Where the first byte stands that is not UTF-8 or is a control character; npos when all is well.
std::size_t first_bad_byte(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) return i;
    const int length = byte < 0x80   ? 1
                       : byte < 0xC2 ? 0
                       : byte < 0xE0 ? 2
                       : byte < 0xF0 ? 3
                       : byte < 0xF5 ? 4
                                     : 0;
    if (length == 0 || i + static_cast<std::size_t>(length) > text.size()) return i;
    for (int k = 1; k < length; ++k)
      if (!continuation(static_cast<unsigned char>(text[i + static_cast<std::size_t>(k)])))
        return i;
    i += static_cast<std::size_t>(length);
  }
  return std::string_view::npos;
}

std::string without_carriage_returns(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] != '\r' || i + 1 >= text.size() || text[i + 1] != '\n') out += text[i];
  return out;
}

Position place_of(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const auto line = static_cast<int>(std::count(before.begin(), before.end(), '\n'));
  const std::size_t start = before.rfind('\n') + 1;  // npos + 1 = 0
  return {line + 1, static_cast<int>(offset - start) + 1, 1};
}

/// What yaml-cpp would misread rather than refuse.
std::optional<Diagnostic> refuse_bytes(const Source& source) {
  const std::string& text = source.text();
  if (const std::size_t bad = first_bad_byte(text); bad != std::string::npos)
    return source.error(place_of(text, bad), "this byte is no UTF-8 text",
                        "save the file as UTF-8 without control characters");
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t mark = text.find_first_not_of(' ', start);
    if (mark != std::string::npos && text[mark] == '\t')
      return source.error(place_of(text, mark), "a tab in the indentation",
                          "indent with spaces, two a level");
    const std::size_t end = text.find('\n', start);
    if (end == std::string::npos) break;
    start = end + 1;
  }
  return std::nullopt;
}

}  // namespace

YamlDocument parse_yaml(std::string_view text, const std::string& file) {
  YamlDocument out;
  if (text.size() > kBytesMax) {
    out.errors.push_back({Severity::Error,
                          file,
                          {},
                          "",
                          "longer than 1 MiB: this is no job file",
                          "give the path of a YAML job file",
                          ""});
    return out;
  }
  const Source source(without_carriage_returns(text), file);
  if (const auto error = refuse_bytes(source)) {
    out.errors.push_back(*error);
    return out;
  }
  std::istringstream stream(source.text());
  Builder builder(source, out);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Stop&) {
    builder.close_all();
  } catch (const YAML::Exception& error) {
    out.errors.push_back(source.error(source.position(error.mark), "not YAML: " + error.msg,
                                      "look at the indentation and the colons near here"));
    builder.close_all();
  } catch (const std::exception& error) {
    out.errors.push_back(source.error({}, std::string("not YAML: ") + error.what(), ""));
    builder.close_all();
  }
  return out;
}

std::string yaml_scalar(std::string_view text) {
  const auto plain_byte = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '/' || c == '-' || c == '+';
  };
  const bool plain = !text.empty() && text != "null" && text != "Null" && text != "NULL" &&
                     text.front() != '-' && std::ranges::all_of(text, plain_byte);
  if (plain) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

}  // namespace weft::runtime
