#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "base/text.h"
#include "runtime/cli/tree.h"

namespace weft::cli {
namespace {

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(text.size() + 2, width), ' ');
  return text;
}

std::string spelled(const CLI::Option& option) {
  if (option.get_positional()) return option.get_name(true);
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  const bool takes_value = option.get_items_expected_max() > 0;
  const std::string type = option.get_type_name();  // "FORMAT:{table,json,…}"
  return join(names, ", ") + (takes_value ? " " + type.substr(0, type.find(':')) : "");
}

std::string usage(const CLI::App& app) {
  std::string path = app.get_name();
  for (const CLI::App* up = app.get_parent(); up != nullptr; up = up->get_parent())
    path = up->get_name() + " " + path;
  for (const CLI::Option* option : app.get_options())
    if (option->get_positional())
      path += option->get_required() ? " " + option->get_name(true)
                                     : " [" + option->get_name(true) + "]";
  return path + (verbs_of(app).empty() ? " [options]" : " VERB");
}

std::string option_lines(const CLI::App& app) {
  std::string out;
  for (const bool positional : {true, false})
    for (const CLI::Option* option : app.get_options())
      if (option->get_positional() == positional)
        out += "  " + padded(spelled(*option), 26) + option->get_description() + "\n";
  return out;
}

std::string verb_lines(const CLI::App& app) {
  std::string out;
  for (const CLI::App* sub : verbs_of(app))
    out += "  " + padded(sub->get_name(), 12) + sub->get_description() + "\n";
  return out;
}

constexpr const char* kRootEnd =
    "\nEvery verb: weft VERB --help. Fields of a job file: weft explain.\n"
    "\nstdout is data, stderr is talk; reading verbs take -o table|json|jsonl|yaml|name.\n"
    "A job's values come from the file, then WEFT__GROUP__FIELD, then --set group.field=value.\n"
    "\nExit codes:\n"
    "    0  done\n"
    "    1  what was asked about is not so (ckpt verify, status --expect)\n"
    "    2  usage: the command line is wrong\n"
    "   65  data, run or checkpoint unreadable, damaged or missing\n"
    "   69  somebody who is needed is not there, or holds what is needed\n"
    "   70  internal error: please report\n"
    "   75  checkpointed, please start again\n"
    "   77  the file system refused: not allowed, read-only or full\n"
    "   78  the job cannot run as it is written; do not requeue\n"
    "  124  a wait ran out of time\n"
    "  130  interrupted\n";

}  // namespace

std::string help_text(const CLI::App& app) {
  if (app.get_parent() == nullptr)
    return "Example:\n  weft run deploy/jobs/r1-zero-arithmetic.yaml\n\n"
           "weft trains DeepSeek-V3-shaped models over a pipeline and teaches them to reason.\n\n"
           "Verbs:\n" +
           verb_lines(app) + "\nOptions:\n" + option_lines(app) + kRootEnd;
  std::string out = "Example:\n  " + app.get_footer() + "\n\n" + app.get_description() +
                    ".\n\nUsage: " + usage(app) + "\n\n";
  if (!verbs_of(app).empty()) out += verb_lines(app) + "\n";
  return out + option_lines(app);
}

}  // namespace weft::cli
