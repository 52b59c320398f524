#include "runtime/job/diagnostics.h"

#include <algorithm>
#include <map>

namespace weft::runtime {
namespace {

constexpr int kExplainColumn = 48;

bool continues_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

int num_characters(std::string_view text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(),
                                        [](char byte) { return !continues_character(byte); }));
}

/// Control characters would move the cursor; one place holder each keeps the caret under its mark.
std::string printable(std::string_view text) {
  std::string out(text);
  for (char& byte : out)
    if (static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f) byte = byte == '\t' ? ' ' : '?';
  return out;
}

std::string paint(const PrintStyle& style, const char* code, const std::string& text) {
  return style.color ? "\x1b[" + std::string(code) + "m" + text + "\x1b[0m" : text;
}

/// The source line without its indentation, and the caret below the mark.
std::string excerpt(const Diagnostic& d, const PrintStyle& style) {
  const std::size_t indent = std::min(d.source.find_first_not_of(' '), d.source.size());
  const std::string_view shown = std::string_view(d.source).substr(indent);
  const std::size_t column = static_cast<std::size_t>(std::max(d.at.column - 1, 0));
  const std::size_t start = std::min(column > indent ? column - indent : 0, shown.size());
  const std::string_view marked =
      shown.substr(start, static_cast<std::size_t>(std::max(d.at.length, 1)));
  const int width = std::max(num_characters(marked), 1);
  const std::string caret = "^" + std::string(static_cast<std::size_t>(width - 1), '~');
  return "    " + printable(shown) + "\n    " +
         std::string(static_cast<std::size_t>(num_characters(shown.substr(0, start))), ' ') +
         paint(style, "1;32", caret) + "\n";
}

std::string hint_line(const Diagnostic& d, const PrintStyle& style) {
  if (d.hint.empty() && d.field.empty()) return "";
  std::string line = "  " + paint(style, "36", "hint:") + " ";
  if (d.hint.empty()) return line + "weft explain " + d.field + "\n";
  line += d.hint;
  if (!d.field.empty()) {
    const int padding = std::max(kExplainColumn - num_characters(d.hint), 2);
    line += std::string(static_cast<std::size_t>(padding), ' ') + "(weft explain " + d.field + ")";
  }
  return line + "\n";
}

std::string counted(int n, const char* noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

std::string summary(std::span<const Diagnostic> diagnostics, const PrintStyle& style) {
  const int errors = static_cast<int>(std::ranges::count_if(
      diagnostics, [](const Diagnostic& d) { return d.severity == Severity::Error; }));
  const int warnings = static_cast<int>(diagnostics.size()) - errors;
  std::string text = errors > 0 ? counted(errors, "error") : "";
  if (warnings > 0) text += (errors > 0 ? ", " : "") + counted(warnings, "warning");
  if (errors > 0 && !style.consequence.empty()) text += " — " + style.consequence;
  return text + ".\n";
}

}  // namespace

void sort_by_place(std::vector<Diagnostic>& diagnostics) {
  std::map<std::string, int> order;
  for (const Diagnostic& d : diagnostics) order.emplace(d.file, static_cast<int>(order.size()));
  std::ranges::stable_sort(diagnostics, {}, [&](const Diagnostic& d) {
    return std::tuple(order[d.file], d.at.line, d.at.column);
  });
}

bool has_errors(std::span<const Diagnostic> diagnostics) {
  return std::ranges::any_of(diagnostics,
                             [](const Diagnostic& d) { return d.severity == Severity::Error; });
}

std::string print(std::span<const Diagnostic> diagnostics, const PrintStyle& style) {
  if (diagnostics.empty()) return "";
  std::string out;
  for (const Diagnostic& d : diagnostics) {
    std::string where = d.file;
    if (d.at.line > 0) where += ":" + std::to_string(d.at.line) + ":" + std::to_string(d.at.column);
    out += where + (where.empty() ? "" : ": ") +
           (d.severity == Severity::Error ? paint(style, "1;31", "error:")
                                          : paint(style, "1;33", "warning:")) +
           " " + printable(d.message) + "\n";
    if (!d.source.empty()) out += excerpt(d, style);
    out += hint_line(d, style);
  }
  return out + summary(diagnostics, style);
}

std::string line_of(std::string_view text, int line) {
  for (; line > 1; --line) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return "";
    text.remove_prefix(end + 1);
  }
  return line < 1 ? "" : std::string(text.substr(0, text.find('\n')));
}

}  // namespace weft::runtime
