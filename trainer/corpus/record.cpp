#include "trainer/corpus/record.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "trainer/corpus/json_view.h"

namespace weft::trainer::corpus {
namespace {

using Kind = JsonView::Kind;

std::string trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return std::string(text);
}

/// A line's members, each key once.
class Members {
 public:
  explicit Members(const JsonView& object) : members_(members(object)) {}

  const JsonView* find(std::string_view key) const {
    const auto found = std::ranges::find(members_, key, &JsonMember::key);
    return found == members_.end() ? nullptr : &found->value;
  }
  bool has(std::string_view key) const { return find(key) != nullptr; }

  Expected<void> check_once() const {
    for (std::size_t i = 0; i < members_.size(); ++i)
      for (std::size_t j = 0; j < i; ++j)
        if (members_[i].key == members_[j].key)
          return fail(Code::InvalidArgument, "the key '" + members_[i].key + "' stands twice");
    return {};
  }

  Expected<std::string> text(std::string_view key) const {
    const JsonView* value = find(key);
    if (value == nullptr || value->kind != Kind::String)
      return fail(Code::InvalidArgument, "'" + std::string(key) + "' is no string");
    return unescaped(*value);
  }

  std::string names() const {
    std::string out;
    for (const JsonMember& member : members_) out += (out.empty() ? "" : ", ") + member.key;
    return out.empty() ? "none" : out;
  }

 private:
  std::vector<JsonMember> members_;
};

struct Turn {
  std::string role, content;
};

Expected<std::vector<Turn>> turns_of(const JsonView& list, std::string_view key) {
  std::vector<Turn> turns;
  for (const JsonView& item : items(list)) {
    const Members turn(item);
    WEFT_TRY(turn.check_once());
    auto role = turn.text("role"), content = turn.text("content");
    if (!role || !content)
      return fail(Code::InvalidArgument, "'" + std::string(key) +
                                             "' is no list of messages: each needs a role and a "
                                             "content, both strings");
    turns.push_back({std::move(*role), std::move(*content)});
  }
  if (turns.empty())
    return fail(Code::InvalidArgument, "'" + std::string(key) + "' holds no message");
  return turns;
}

std::string joined(const std::vector<Turn>& turns) {
  std::string out;
  for (const Turn& turn : turns) out += (out.empty() ? "" : "\n") + turn.content;
  return out;
}

/// A string, or messages one after another.
Expected<std::string> text_or_turns(const Members& line, std::string_view key) {
  const JsonView* value = line.find(key);
  if (value->kind == Kind::String) return unescaped(*value);
  if (value->kind != Kind::Array)
    return fail(Code::InvalidArgument,
                "'" + std::string(key) + "' is neither a string nor a list of messages");
  WEFT_TRY_ASSIGN(const std::vector<Turn> turns, turns_of(*value, key));
  return joined(turns);
}

/// What stands before "####", and the number after it.
Expected<void> take_gold(Record& record) {
  const std::size_t mark = record.completion.rfind("####");
  if (mark == std::string::npos)
    return fail(Code::InvalidArgument, "'answer' has no '####' before its gold answer");
  record.gold = trimmed(std::string_view(record.completion).substr(mark + 4));
  std::erase(record.gold, ',');
  if (record.gold.empty())
    return fail(Code::InvalidArgument, "nothing follows the '####' of 'answer'");
  record.reasoning = trimmed(std::string_view(record.completion).substr(0, mark));
  return {};
}

/// A gold answer may be a number too.
std::optional<std::string> gold_of(const Members& line) {
  for (const char* key : {"solution", "ground_truth", "answer"}) {
    const JsonView* value = line.find(key);
    if (value == nullptr) continue;
    if (value->kind == Kind::String) return unescaped(*value);
    if (value->kind == Kind::Number) return std::string(value->raw);
  }
  return std::nullopt;
}

Expected<Record> gsm8k(const Members& line) {
  Record record{Dialect::Gsm8k, {}, {}, {}, {}};
  WEFT_TRY_ASSIGN(record.prompt, line.text("question"));
  WEFT_TRY_ASSIGN(const std::string answer, line.text("answer"));
  record.completion = strip_calculator_marks(answer);
  WEFT_TRY(take_gold(record));
  return record;
}

Expected<Record> prompted(const Members& line, Dialect dialect) {
  Record record{dialect, {}, {}, {}, {}};
  WEFT_TRY_ASSIGN(record.prompt, text_or_turns(line, "prompt"));
  std::optional<std::string> gold = gold_of(line);
  if (const JsonView* model = line.find("reward_model")) gold = gold_of(Members(*model));
  record.gold = gold.value_or("");
  if (line.has("completion")) {
    WEFT_TRY_ASSIGN(record.completion, text_or_turns(line, "completion"));
    record.reasoning = record.completion;
  } else {
    record.completion = record.gold;
  }
  if (record.completion.empty())
    return fail(Code::InvalidArgument,
                "there is a 'prompt' but nothing that answers it (completion, solution, "
                "ground_truth, answer or reward_model.ground_truth); the keys are: " +
                    line.names());
  return record;
}

Expected<Record> conversation(const Members& line) {
  WEFT_TRY_ASSIGN(std::vector<Turn> turns, turns_of(*line.find("messages"), "messages"));
  if (turns.size() < 2 || turns.back().role != "assistant")
    return fail(Code::InvalidArgument, "'messages' does not end in an assistant's answer");
  Record record{Dialect::Trl, {}, std::move(turns.back().content), {}, {}};
  turns.pop_back();
  record.prompt = joined(turns);
  record.reasoning = record.completion;
  return record;
}

Expected<Record> of_dialect(const Members& line, std::string_view text_key) {
  if (line.has(text_key)) {
    Record record;
    WEFT_TRY_ASSIGN(record.completion, line.text(text_key));
    return record;
  }
  if (line.has("question") && line.has("answer")) return gsm8k(line);
  if (line.has("prompt")) {
    const bool verl = line.has("reward_model") || line.has("data_source");
    return prompted(line, verl ? Dialect::Verl : Dialect::Trl);
  }
  if (line.has("messages")) return conversation(line);
  return fail(Code::InvalidArgument,
              "no key '" + std::string(text_key) +
                  "' (data.text_key), and neither question and answer, prompt nor messages; the "
                  "keys are: " +
                  line.names());
}

}  // namespace

const char* to_string(Dialect dialect) {
  static constexpr const char* kNames[kNumDialects] = {"text", "gsm8k", "verl", "trl"};
  return kNames[static_cast<int>(dialect)];
}

std::string strip_calculator_marks(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t open = text.find("<<");
    const std::size_t close = open == std::string_view::npos
                                  ? open
                                  : text.substr(0, text.find('\n', open)).find(">>", open);
    if (close == std::string_view::npos) {
      const std::size_t keep = open == std::string_view::npos ? text.size() : open + 2;
      out.append(text.substr(0, keep));
      text.remove_prefix(keep);
      continue;
    }
    out.append(text.substr(0, open));
    text.remove_prefix(close + 2);
  }
  return out;
}

Expected<Record> parse_record(std::string_view line, std::string_view text_key) {
  WEFT_TRY_ASSIGN(const JsonView view, parse_json_view(line));
  if (view.kind != Kind::Object)
    return fail(Code::InvalidArgument, "the line is no JSON object {…}");
  const Members line_members(view);
  WEFT_TRY(line_members.check_once());
  WEFT_TRY_ASSIGN(Record record, of_dialect(line_members, text_key));
  if (record.dialect != Dialect::Text && !record.prompt.empty() && !record.prompt.ends_with('\n'))
    record.prompt += '\n';
  return record;
}

}  // namespace weft::trainer::corpus
