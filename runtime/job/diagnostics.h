// What is wrong with a job file, as values: where, what, and what to do. Printed like a compiler
// does.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weft::runtime {

/// 1-based; columns and length count bytes of UTF-8. line 0: nowhere in particular.
struct Position {
  int line = 0;
  int column = 0;
  int length = 0;
  friend bool operator==(const Position&, const Position&) = default;
};

enum class Severity { Error, Warning };

struct Diagnostic {
  Severity severity = Severity::Error;
  std::string file;  // a path, "--set" or an environment variable's name
  Position at;
  std::string source;  // the line that `at` points into
  std::string message;
  std::string hint;   // "" when there is nothing to say
  std::string field;  // the path that `weft explain` takes, or ""
};

/// By file in order of first appearance, then by line and column.
void sort_by_place(std::vector<Diagnostic>& diagnostics);

bool has_errors(std::span<const Diagnostic> diagnostics);

struct PrintStyle {
  bool color = false;
  std::string consequence = "nothing was started";  // after the count when there are errors
};

/// All of them with source line, caret and hint, closed by "2 errors, 1 warning — nothing was
/// started."
/// "" when there are none.
std::string print(std::span<const Diagnostic> diagnostics, const PrintStyle& style = {});

/// Line `line` (1-based) of `text`, without its end; "" when there is none.
std::string line_of(std::string_view text, int line);

}  // namespace weft::runtime
