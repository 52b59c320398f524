// How a verb gets into the tree: its options, its function, and the flags and checks that verbs
// share. For the files that build the tree.
#pragma once

#include <CLI/App.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/cli/options.h"
#include "runtime/cli/tree.h"

namespace weft::cli {

/// The tree while it is built.
class VerbTree {
 public:
  VerbTree(CLI::App& root, Command& command) : root_(root), command_(command) {}

  CLI::App& root() { return root_; }
  Command& command() { return command_; }

  /// A verb whose options live as long as its callback.
  template <class Options>
  std::pair<CLI::App*, std::shared_ptr<Options>> verb(CLI::App& parent, const std::string& name,
                                                      const std::string& summary,
                                                      const std::string& example,
                                                      int (*function)(const Options&, Io&)) {
    CLI::App* sub = parent.add_subcommand(name, summary);
    sub->footer(example);
    auto options = std::make_shared<Options>();
    sub->callback([command = &command_, options, function] {
      command->action = [options, function](Io& io) { return function(*options, io); };
    });
    return {sub, options};
  }

 private:
  CLI::App& root_;
  Command& command_;
};

/// -o FORMAT and --json.
void add_format(CLI::App* sub, Format& format);
/// --set KEY=VALUE.
void add_set(CLI::App* sub, std::vector<std::string>& set);
/// RUN.
void add_run(CLI::App* sub, std::string& run);

using Check = std::function<std::string(const std::string&)>;  // what is wrong, or nothing
Check between(double low, double high);
Check at_least(double low);

/// What --kind takes.
inline const std::vector<std::string> kPipelineKinds = {"gpipe", "1f1b",     "interleaved", "zb1p",
                                                        "zbv",   "dualpipe", "dualpipev"};

// One function a family of verbs.
void add_agents(VerbTree& tree);
void add_asking(VerbTree& tree);       // cancel, pause, continue, nodes
void add_checkpoints(VerbTree& tree);  // ckpt
void add_tools(VerbTree& tree);        // schedule, trace, balance, model, data
void add_planning(VerbTree& tree);     // plan, cluster
void add_benchmarks(VerbTree& tree);   // bench
void add_rehearse(VerbTree& tree);     // rehearse, drift

}  // namespace weft::cli
