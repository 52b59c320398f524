// One line of a JSONL source as something to learn from: a document, or a prompt with its answer.
#pragma once

#include <string>
#include <string_view>

#include "base/expected.h"

namespace weft::trainer::corpus {

/// Told apart by a line's keys, in this order.
enum class Dialect {
  Text,   // {text}: a document
  Gsm8k,  // {question, answer}: the answer ends in "#### gold"; <<…>> calculator marks are dropped
  Verl,   // {prompt: messages, reward_model: {ground_truth}} or with a data_source
  Trl,    // {prompt[, completion | solution | ground_truth | answer]} or {messages}
};
inline constexpr int kNumDialects = 4;
const char* to_string(Dialect dialect);

/// How a worked answer is written. Plain: as it stands in the source, the gold answer at its end.
/// Think: <think>reasoning</think><answer>gold</answer>, as the built-in tasks and their rewards
/// have it; what has no reasoning apart from the gold answer thinks nothing.
enum class AnswerFormat { Plain, Think };

struct Record {
  Dialect dialect = Dialect::Text;
  std::string prompt;      // empty for a document; else it ends in a line end
  std::string completion;  // the document, or what follows the prompt (Plain)
  std::string reasoning;   // of the completion, without the gold answer
  std::string gold;        // "" when the line names none

  friend bool operator==(const Record&, const Record&) = default;
};

/// `text_key` is the member that holds a document. A conversation's turns are joined by line ends,
/// roles left out; the last assistant turn is the completion.
/// Errors: Corrupt for broken JSON; InvalidArgument, naming the keys there are, for a line of none
/// of the dialects or with a member of the wrong type.
Expected<Record> parse_record(std::string_view line, std::string_view text_key);

/// "48/2 = <<48/2=24>>24" without the marks.
std::string strip_calculator_marks(std::string_view text);

}  // namespace weft::trainer::corpus
