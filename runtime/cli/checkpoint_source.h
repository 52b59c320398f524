// The checkpoint that a user names.
#pragma once

#include <filesystem>
#include <string>

#include "base/expected.h"

namespace weft::cli {

struct NamedCheckpoint {
  std::filesystem::path directory;  // .../step-000000040
  std::filesystem::path run;        // that it belongs to; empty: none is beside it
};

/// "RUN" (its newest complete checkpoint), "RUN@40", "RUN@step-000000040", or a checkpoint's own
/// directory. `step` not empty: as if it stood behind an '@'. Errors: NotFound, with what is there.
Expected<NamedCheckpoint> find_checkpoint(const std::string& text, const std::string& step = "");

/// The name ("step-000000040") of a complete checkpoint by step or name. Errors: NotFound.
Expected<std::string> checkpoint_name(const std::filesystem::path& ckpt_dir,
                                      const std::string& step);

}  // namespace weft::cli
