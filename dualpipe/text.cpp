#include "dualpipe/text.h"

#include <array>
#include <charconv>
#include <optional>

#include "dualpipe/flow.h"

namespace weft::dualpipe {
namespace {

constexpr std::string_view kSchema = "weft.schedule/v1";
constexpr std::array kOps = {Op::F,     Op::B,     Op::BI,    Op::W,      Op::FB,     Op::SendF,
                             Op::RecvF, Op::SendB, Op::RecvB, Op::Reduce, Op::Update, Op::Snapshot};

std::string dotted(const Chunk& chunk) {
  return std::to_string(chunk.direction) + "." + std::to_string(chunk.stage) + "." +
         std::to_string(chunk.micro_batch);
}

/// Reads one line from left to right and remembers where it is.
class Reader {
 public:
  Reader(std::string_view line, int number) : line_(line), number_(number) {}

  bool done() {
    while (at_ < line_.size() && (line_[at_] == ' ' || line_[at_] == '\t')) ++at_;
    return at_ == line_.size() || line_[at_] == '#';
  }
  bool eat(char c) {
    if (at_ == line_.size() || line_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::string_view word() {
    const std::size_t begin = at_;
    while (at_ < line_.size() &&
           (std::string_view(" \t:=#").find(line_[at_]) == std::string_view::npos)) {
      ++at_;
    }
    return line_.substr(begin, at_ - begin);
  }
  Expected<int> integer(std::string_view what) {
    int value = 0;
    const char* begin = line_.data() + at_;
    const auto [end, error] = std::from_chars(begin, line_.data() + line_.size(), value);
    if (error != std::errc() || value < 0 || value > 100'000'000) {
      return wrong("expected " + std::string(what) + ", a number from 0 to 100000000");
    }
    at_ += static_cast<std::size_t>(end - begin);
    return value;
  }
  Expected<void> expect(char c) {
    if (eat(c)) return {};
    return wrong(std::string("expected '") + c + "'");
  }
  Expected<void> expect_end_of_token() {
    if (at_ == line_.size() || line_[at_] == ' ' || line_[at_] == '\t') return {};
    return wrong("expected a space after the action");
  }
  tl::unexpected<Error> wrong(const std::string& what) const {
    return fail(Code::InvalidArgument, "line " + std::to_string(number_) + ", column " +
                                           std::to_string(at_ + 1) + ": " + what);
  }

 private:
  std::string_view line_;
  int number_;
  std::size_t at_ = 0;
};

Expected<Chunk> read_chunk(Reader& in) {
  Chunk chunk;
  WEFT_TRY_ASSIGN(chunk.direction, in.integer("the direction"));
  WEFT_TRY(in.expect('.'));
  WEFT_TRY_ASSIGN(chunk.stage, in.integer("the stage"));
  WEFT_TRY(in.expect('.'));
  WEFT_TRY_ASSIGN(chunk.micro_batch, in.integer("the micro-batch"));
  return chunk;
}

Expected<Action> read_action(Reader& in) {
  const Reader start = in;
  const std::string_view name = in.word();
  std::optional<Op> op;
  for (Op candidate : kOps) {
    if (to_string(candidate) == name) op = candidate;
  }
  if (!op) {
    return start.wrong("no action is called '" + std::string(name) +
                       "'; known are F, B, BI, W, FB, SendF, RecvF, SendB, RecvB, Reduce, Update, "
                       "Snapshot");
  }
  Action action;
  action.op = *op;
  if (*op == Op::Update || *op == Op::Snapshot) return action;
  WEFT_TRY(in.expect(':'));
  if (*op == Op::Reduce) {
    WEFT_TRY_ASSIGN(action.chunk.stage, in.integer("the stage"));
    return action;
  }
  WEFT_TRY_ASSIGN(action.chunk, read_chunk(in));
  if (*op == Op::FB) {
    WEFT_TRY(in.expect('+'));
    WEFT_TRY_ASSIGN(action.other, read_chunk(in));
  }
  if (is_message(*op)) {
    WEFT_TRY(in.expect(is_send(*op) ? '>' : '<'));
    WEFT_TRY_ASSIGN(action.peer, in.integer("the peer"));
  }
  return action;
}

Expected<void> read_header(Reader& in, Schedule& schedule) {
  const Reader start = in;
  if (in.word() != kSchema) {
    return start.wrong("expected a header such as '" + std::string(kSchema) +
                       " kind=dualpipe ranks=8 micro_batches=20'");
  }
  bool kind = false, ranks = false, micro_batches = false;
  while (!in.done()) {
    const Reader at = in;
    const std::string_view key = in.word();
    WEFT_TRY(in.expect('='));
    if (key == "kind") {
      const auto parsed = parse_kind(in.word());
      if (!parsed) return at.wrong(parsed.error().message);
      schedule.kind = *parsed;
      kind = true;
    } else if (key == "ranks") {
      WEFT_TRY_ASSIGN(schedule.ranks, in.integer("the number of ranks"));
      ranks = true;
    } else if (key == "micro_batches") {
      WEFT_TRY_ASSIGN(schedule.micro_batches, in.integer("the number of micro-batches"));
      micro_batches = true;
    } else if (key == "chunks") {
      WEFT_TRY_ASSIGN(schedule.chunks, in.integer("the number of chunks"));
    } else {
      return at.wrong("unknown key '" + std::string(key) +
                      "'; known are kind, ranks, micro_batches, chunks");
    }
  }
  if (!kind || !ranks || !micro_batches) {
    return in.wrong("the header must give kind, ranks and micro_batches");
  }
  return {};
}

/// A rank's line, or one that goes on with it.
Expected<void> read_line(Reader& in, bool goes_on, Schedule& schedule) {
  if (!goes_on) {
    const Reader start = in;
    WEFT_TRY_ASSIGN(const int rank, in.integer("the rank"));
    if (rank != static_cast<int>(schedule.programs.size()) || rank >= schedule.ranks) {
      return start.wrong("expected rank " + std::to_string(schedule.programs.size()) + " of " +
                         std::to_string(schedule.ranks) + ", ranks stand in ascending order");
    }
    WEFT_TRY(in.expect(':'));
    schedule.programs.emplace_back();
  } else if (schedule.programs.empty()) {
    return in.wrong("an indented line goes on with a rank, but there is none above it");
  }
  while (!in.done()) {
    WEFT_TRY_ASSIGN(Action action, read_action(in));
    WEFT_TRY(in.expect_end_of_token());
    schedule.programs.back().push_back(action);
  }
  return {};
}

}  // namespace

std::string to_token(const Action& action) {
  const std::string name(to_string(action.op));
  switch (action.op) {
    case Op::FB:
      return name + ":" + dotted(action.chunk) + "+" + dotted(action.other);
    case Op::SendF:
    case Op::SendB:
      return name + ":" + dotted(action.chunk) + ">" + std::to_string(action.peer);
    case Op::RecvF:
    case Op::RecvB:
      return name + ":" + dotted(action.chunk) + "<" + std::to_string(action.peer);
    case Op::Reduce:
      return name + ":" + std::to_string(action.chunk.stage);
    case Op::Update:
    case Op::Snapshot:
      return name;
    default:
      return name + ":" + dotted(action.chunk);
  }
}

std::string to_text(const Schedule& schedule) {
  std::string text = std::string(kSchema) + " kind=" + std::string(to_string(schedule.kind)) +
                     " ranks=" + std::to_string(schedule.ranks) +
                     " micro_batches=" + std::to_string(schedule.micro_batches);
  if (schedule.chunks != 1) text += " chunks=" + std::to_string(schedule.chunks);
  text += '\n';
  for (std::size_t rank = 0; rank < schedule.programs.size(); ++rank) {
    text += std::to_string(rank) + ":";
    for (const Action& action : schedule.programs[rank]) text += " " + to_token(action);
    text += '\n';
  }
  return text;
}

Expected<Schedule> parse(std::string_view text) {
  Schedule schedule;
  bool header = false;
  int number = 0;
  while (!text.empty()) {
    const auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    Reader in(line, ++number);
    if (in.done()) continue;
    if (!header) {
      WEFT_TRY(read_header(in, schedule));
      header = true;
      continue;
    }
    WEFT_TRY(read_line(in, line.front() == ' ' || line.front() == '\t', schedule));
  }
  if (!header) return fail(Code::InvalidArgument, "the schedule is empty: no header line");
  if (static_cast<int>(schedule.programs.size()) != schedule.ranks) {
    return fail(Code::InvalidArgument, "line " + std::to_string(number) + ": the text ends after " +
                                           std::to_string(schedule.programs.size()) + " of " +
                                           std::to_string(schedule.ranks) + " ranks");
  }
  return schedule;
}

}  // namespace weft::dualpipe
