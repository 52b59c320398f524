#include "dualpipe/grid.h"

#include <algorithm>
#include <cmath>

#include "dualpipe/flow.h"

namespace weft::dualpipe {
namespace {

// A wider picture than this helps nobody; the rest is cut off.
constexpr int kMaxColumns = 2000;

std::string half(char letter, const Chunk& chunk) {
  const char shown = chunk.direction == 0 ? letter : static_cast<char>(letter - 'A' + 'a');
  return shown + std::to_string(chunk.micro_batch);
}

/// Cells of one rank: begin column, text.
struct Cell {
  int begin = 0;
  int end = 0;
  std::string text;
};

bool marked(const std::vector<Mark>& marks, int rank, int action) {
  return std::any_of(marks.begin(), marks.end(),
                     [&](const Mark& mark) { return mark.rank == rank && mark.action == action; });
}

std::vector<Cell> cells_of(const Schedule& schedule, const Timeline& times,
                           const std::vector<Mark>& marks, int rank) {
  std::vector<Cell> cells;
  const auto& program = schedule.programs[static_cast<std::size_t>(rank)];
  const auto& slots = times.slots[static_cast<std::size_t>(rank)];
  for (std::size_t i = 0; i < program.size(); ++i) {
    const bool mark = marked(marks, rank, static_cast<int>(i));
    if (!mark && (!is_compute(program[i].op) || !slots[i].ran)) continue;
    const std::string text = cell(program[i]);
    const int after = cells.empty() ? 0 : cells.back().end;
    const int begin =
        slots[i].ran ? std::max(after, static_cast<int>(std::lround(slots[i].begin))) : after;
    const int end =
        slots[i].ran ? std::max(begin + 1, static_cast<int>(std::lround(slots[i].end))) : begin + 1;
    if (begin >= kMaxColumns) break;
    cells.push_back({begin, end, mark ? ">" + text + "<" : text});
  }
  return cells;
}

}  // namespace

std::string cell(const Action& action) {
  switch (action.op) {
    case Op::F:
      return half('F', action.chunk);
    case Op::B:
      return half('B', action.chunk);
    case Op::BI:
      return half('I', action.chunk);
    case Op::W:
      return half('W', action.chunk);
    case Op::FB:
      return half('F', action.chunk) + half('B', action.other);
    default:
      return describe(action);
  }
}

std::string grid(const Schedule& schedule, const Timeline& times, const std::vector<Mark>& marks) {
  const int ranks = static_cast<int>(schedule.programs.size());
  std::vector<std::vector<Cell>> rows;
  std::size_t width = 2;
  for (int rank = 0; rank < ranks; ++rank) {
    rows.push_back(cells_of(schedule, times, marks, rank));
    for (const Cell& c : rows.back()) {
      const auto columns = static_cast<std::size_t>(c.end - c.begin);
      width = std::max(width, (c.text.size() + columns) / columns);
    }
  }
  width = std::min<std::size_t>(width, 24);
  const std::size_t label = std::to_string(std::max(0, ranks - 1)).size();
  std::string text;
  for (int rank = 0; rank < ranks; ++rank) {
    std::string line = std::to_string(rank);
    line = std::string(label - line.size(), ' ') + line + " |";
    for (const Cell& c : rows[static_cast<std::size_t>(rank)]) {
      const std::size_t column = label + 2 + static_cast<std::size_t>(c.begin) * width;
      line.resize(std::max(line.size(), column), ' ');
      line += c.text;
      const std::size_t end = label + 2 + static_cast<std::size_t>(c.end) * width;
      if (line.size() + 1 < end) line.resize(end - 1, c.end - c.begin > 1 ? '-' : ' ');
    }
    while (!line.empty() && line.back() == ' ') line.pop_back();
    text += line + '\n';
  }
  return text;
}

}  // namespace weft::dualpipe
