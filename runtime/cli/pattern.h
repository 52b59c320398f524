// A regular expression as users of grep -P know it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/expected.h"

namespace weft::cli {

/// Never throws; a hostile pattern gives up after a bounded search and then does not match.
class Pattern {
 public:
  /// "" matches everything. Errors: InvalidArgument with the place.
  static Expected<Pattern> compile(const std::string& text);
  bool found_in(std::string_view text) const;

 private:
  std::shared_ptr<void> code_;
};

}  // namespace weft::cli
