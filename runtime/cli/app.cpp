#include "runtime/cli/app.h"

#include <CLI/Config.hpp>
#include <CLI/Error.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <ostream>

#include "base/text.h"
#include "runtime/cli/tree.h"

namespace weft::cli {
namespace {

/// The verb that the words lead to, and the first word that names none where one is needed.
struct Way {
  const CLI::App* app;
  std::string stray;
};

Way follow(const CLI::App& root, const std::vector<std::string>& args) {
  Way way{&root, ""};
  for (const std::string& word : args) {
    if (word.starts_with('-')) continue;
    const auto subs = verbs_of(*way.app);
    if (subs.empty()) break;
    const auto next =
        std::ranges::find(subs, word, [](const CLI::App* s) { return s->get_name(); });
    if (next == subs.end()) {
      way.stray = word;
      break;
    }
    way.app = *next;
  }
  return way;
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& names) {
  const std::string near = closest(word, names);
  return near.empty() ? "" : "; did you mean '" + near + "'?";
}

std::string full_name(const CLI::App& app) {
  return app.get_parent() == nullptr ? app.get_name()
                                     : full_name(*app.get_parent()) + " " + app.get_name();
}

std::string explain_usage(const CLI::App& root, const std::vector<std::string>& args,
                          const std::string& otherwise) {
  const Way way = follow(root, args);
  if (!way.stray.empty()) {
    std::vector<std::string> names;
    for (const CLI::App* sub : verbs_of(*way.app)) names.push_back(sub->get_name());
    return "no verb '" + full_name(*way.app) + " " + way.stray + "'" +
           did_you_mean(way.stray, names);
  }
  if (const auto verbs = verbs_of(*way.app); !verbs.empty() && way.app->get_parent() != nullptr) {
    std::vector<std::string> names;
    for (const CLI::App* sub : verbs) names.push_back(sub->get_name());
    return full_name(*way.app) + " needs one of: " + join(names, ", ");
  }
  const std::vector<std::string> flags = flags_of(*way.app);
  for (const std::string& word : args) {
    const std::string flag = word.substr(0, word.find('='));
    if (flag == "--") break;
    const bool known = std::ranges::find(flags, flag) != flags.end();
    if (flag.starts_with("--") && !known)
      return full_name(*way.app) + " has no flag '" + flag + "'" + did_you_mean(flag, flags);
  }
  return full_name(*way.app) + ": " + otherwise;
}

int usage_error(const std::string& message, const CLI::App& app, Io& io) {
  std::string text = message;
  std::ranges::replace(text, '\n', ' ');
  io.err << (io.color_err ? "weft: \x1b[1;31merror:\x1b[0m " : "weft: error: ") << text << "\n"
         << "See: " << full_name(app) << " --help\n";
  return kUsage;
}

/// CLI11 would take the words after "help" for verbs to run.
int answer_help(const CLI::App& root, const std::vector<std::string>& words, Io& io) {
  const Way way = follow(root, words);
  if (!way.stray.empty()) return usage_error(explain_usage(root, words, ""), *way.app, io);
  io.out << help_text(*way.app);
  return kOk;
}

int parse_and_run(const std::vector<std::string>& args, Io& io) {
  Command command;
  const std::unique_ptr<CLI::App> tree = build_tree(command);
  if (args.size() > 1 && args[0] == "help" && !args[1].starts_with('-'))
    return answer_help(*tree, {args.begin() + 1, args.end()}, io);
  try {
    std::vector<std::string> reversed(args.rbegin(), args.rend());  // as CLI11 wants it
    tree->parse(reversed);
  } catch (const CLI::CallForHelp&) {
    io.out << help_text(*follow(*tree, args).app);
    return kOk;
  } catch (const CLI::ParseError& error) {
    return usage_error(explain_usage(*tree, args, error.what()), *follow(*tree, args).app, io);
  }
  if (command.color != "auto") io.color_out = io.color_err = command.color == "always";
  if (!command.action) {
    io.out << help_text(*tree);
    return kOk;
  }
  return command.action(io);
}

}  // namespace

int run_cli(const std::vector<std::string>& args, Io& io) {
  try {
    const int code = parse_and_run(args, io);
    io.out.flush();
    if (io.out.fail() && code == kOk)
      return report({Code::Io, "cannot write to stdout (is the disk full, or the reader gone?)"},
                    io);
    return code;
  } catch (const std::exception& error) {
    return report({Code::Internal, std::string(error.what()) + "; please report this"}, io);
  }
}

}  // namespace weft::cli
