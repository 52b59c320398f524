// The tree of verbs and flags: built once, then parsed, printed as help and walked for completion.
#pragma once

#include <CLI/App.hpp>
#include <functional>
#include <memory>
#include <string>

#include "runtime/cli/io.h"

namespace weft::cli {

struct Command {
  std::function<int(Io&)> action;  // what the arguments ask for
  std::string color = "auto";
};

/// `command` is filled while the tree parses; it must outlive the tree.
std::unique_ptr<CLI::App> build_tree(Command& command);

/// Help of a verb (begins with an example), or of everything for the root.
std::string help_text(const CLI::App& app);
/// A completion script. `shell`: bash, zsh or fish.
std::string completion_script(const CLI::App& root, const std::string& shell);

/// All verbs directly below, in order.
std::vector<const CLI::App*> verbs_of(const CLI::App& app);
/// "--set", "-o", ... of this verb and of the root.
std::vector<std::string> flags_of(const CLI::App& app);

}  // namespace weft::cli
