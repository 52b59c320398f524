#include "dualpipe/svg.h"

#include <algorithm>
#include <charconv>

#include "dualpipe/flow.h"

namespace weft::dualpipe {
namespace {

constexpr double kRow = 26;   // height of a rank
constexpr double kGap = 4;    // between ranks
constexpr double kLeft = 64;  // room for rank labels
constexpr double kTop = 56;   // room for the title and the legend
constexpr double kUnit = 24;  // width of the shortest action, where the picture allows
constexpr double kWidest = 16000;

// Blue and orange stay apart for the colour-blind; the darker shade is the backward.
constexpr std::string_view kStyle = R"(<style>
svg{--bg:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;
 --f0:#a8d1ff;--f1:#ffd8a8;--b0:#3b7dd8;--b1:#d9730d;--i0:#6aa5ee;--i1:#ef9f4b;--w:#9aa4ae;--on:#fff}
@media (prefers-color-scheme:dark){svg{--bg:#0d1117;--ink:#e6edf3;--soft:#9198a1;--line:#30363d;
 --f0:#1f4e86;--f1:#7d4a12;--b0:#6fb1ff;--b1:#ffad5c;--i0:#4a8ad6;--i1:#cf8437;--w:#6e7681;--on:#0d1117}}
text{font:11px system-ui,sans-serif;fill:var(--ink);text-anchor:middle;dominant-baseline:central}
text.l{text-anchor:end}text.t{text-anchor:start;font-size:14px;font-weight:600}
text.k{text-anchor:start;fill:var(--soft)}text.o{fill:var(--on)}
.bg{fill:var(--bg)}.row{fill:none;stroke:var(--line)}
.f0{fill:var(--f0)}.f1{fill:var(--f1)}.b0{fill:var(--b0)}.b1{fill:var(--b1)}
.i0{fill:var(--i0)}.i1{fill:var(--i1)}.w0,.w1{fill:var(--w)}
g.a rect{stroke:var(--bg);stroke-width:1}
</style>
)";

std::string number(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, 2).ptr;
  std::string result(text, end);
  while (result.back() == '0') result.pop_back();
  if (result.back() == '.') result.pop_back();
  return result;
}

std::string rect(std::string_view type, double x, double y, double width, double height) {
  return "<rect class=\"" + std::string(type) + "\" x=\"" + number(x) + "\" y=\"" + number(y) +
         "\" width=\"" + number(width) + "\" height=\"" + number(height) + "\"/>";
}

std::string label(std::string_view type, double x, double y, std::string_view text) {
  return "<text class=\"" + std::string(type) + "\" x=\"" + number(x) + "\" y=\"" + number(y) +
         "\">" + std::string(text) + "</text>";
}

/// A coloured box with its micro-batch, if that fits.
std::string box(char type, const Chunk& chunk, double x, double y, double width, double height) {
  const std::string kind = type + std::to_string(chunk.direction == 0 ? 0 : 1);
  std::string text = rect(kind, x, y, width, height);
  const std::string mb = std::to_string(chunk.micro_batch);
  if (width >= 7.0 * static_cast<double>(mb.size())) {
    text += label(type == 'b' || type == 'i' ? "o" : "m", x + width / 2, y + height / 2, mb);
  }
  return text;
}

char type_of(Op op) {
  switch (op) {
    case Op::F:
      return 'f';
    case Op::BI:
      return 'i';
    case Op::W:
      return 'w';
    default:
      return 'b';
  }
}

std::string draw(const Action& action, const Slot& slot, double x, double y, double width) {
  std::string text = "<g class=\"a\"><title>" + describe(action) + ", " + number(slot.begin) +
                     " to " + number(slot.end) + "</title>";
  if (action.op == Op::FB) {
    text += box('f', action.chunk, x, y, width, kRow / 2);
    text += box('b', action.other, x, y + kRow / 2, width, kRow / 2);
  } else {
    text += box(type_of(action.op), action.chunk, x, y, width, kRow);
  }
  return text + "</g>\n";
}

double shortest(const Schedule& schedule, const Timeline& times) {
  double least = times.makespan;
  for (std::size_t rank = 0; rank < schedule.programs.size(); ++rank) {
    for (const Slot& slot : times.slots[rank]) {
      if (slot.end > slot.begin) least = std::min(least, slot.end - slot.begin);
    }
  }
  return least > 0 ? least : 1;
}

std::string legend(bool two_directions) {
  struct Entry {
    const char* type;
    const char* text;
  };
  constexpr Entry kEntries[] = {{"f0", "forward"},
                                {"f1", "forward, direction 1"},
                                {"b0", "backward"},
                                {"b1", "backward, direction 1"},
                                {"i0", "backward for input"},
                                {"w0", "weight gradient"}};
  std::string text;
  double x = kLeft;
  for (const Entry& entry : kEntries) {
    if (entry.type[1] == '1' && !two_directions) continue;
    text += rect(entry.type, x, 32, 12, 12) + label("k", x + 17, 38, entry.text) + "\n";
    x += 34 + 6.2 * static_cast<double>(std::string_view(entry.text).size());
  }
  return text;
}

}  // namespace

std::string to_svg(const Schedule& schedule, const Timeline& times) {
  const double span = std::max(times.makespan, 1e-9);
  const double scale = std::min(kUnit / shortest(schedule, times), kWidest / span);
  const double width = std::max(kLeft + span * scale + 16, 860.0);
  const double ranks = static_cast<double>(schedule.programs.size());
  const double height = kTop + ranks * (kRow + kGap) + 12;
  const std::string title =
      std::string(to_string(schedule.kind)) + ", " + std::to_string(schedule.ranks) + " ranks, " +
      std::to_string(schedule.micro_batches) + " micro-batches: makespan " + number(times.makespan);
  const double worst =
      times.bubble.empty() ? 0 : *std::max_element(times.bubble.begin(), times.bubble.end());
  std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 " +
                    number(width) + " " + number(height) + "\" width=\"" + number(width) +
                    "\" height=\"" + number(height) + "\">\n<title>" + title + "</title>\n";
  svg += kStyle;
  svg += rect("bg", 0, 0, width, height) + "\n";
  svg += label("t", kLeft, 16, title + ", largest bubble " + number(worst)) + "\n";
  const bool two = num_directions(schedule.kind) == 2 || is_v(schedule.kind);
  svg += legend(two);
  for (std::size_t rank = 0; rank < schedule.programs.size(); ++rank) {
    const double y = kTop + static_cast<double>(rank) * (kRow + kGap);
    svg += label("l", kLeft - 8, y + kRow / 2, "rank " + std::to_string(rank)) + "\n";
    svg += rect("row", kLeft, y, span * scale, kRow) + "\n";
    for (std::size_t i = 0; i < schedule.programs[rank].size(); ++i) {
      const Slot& slot = times.slots[rank][i];
      if (!slot.ran || !is_compute(schedule.programs[rank][i].op)) continue;
      svg += draw(schedule.programs[rank][i], slot, kLeft + slot.begin * scale, y,
                  (slot.end - slot.begin) * scale);
    }
  }
  return svg + "</svg>\n";
}

}  // namespace weft::dualpipe
