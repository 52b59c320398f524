// Completion scripts, made by walking the tree: they cannot lag behind it.
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "base/text.h"
#include "runtime/cli/tree.h"
#include "runtime/job/fields.h"

namespace weft::cli {
namespace {

/// Words that may follow a verb: its verbs, flags and, for explain, the fields.
std::string words_after(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::App* sub : verbs_of(app)) words.push_back(sub->get_name());
  for (const std::string& flag : flags_of(app)) words.push_back(flag);
  if (app.get_name() == "completion") words.insert(words.end(), {"bash", "zsh", "fish"});
  if (app.get_name() == "explain")
    for (const runtime::Field& field : runtime::fields()) words.push_back(field.path);
  if (app.get_name() == "help")
    for (const CLI::App* sub : verbs_of(*app.get_parent())) words.push_back(sub->get_name());
  return join(words, " ");
}

std::string assignments() {
  std::vector<std::string> words;
  for (const runtime::Field& field : runtime::fields()) words.push_back(field.path + "=");
  return join(words, " ");
}

std::string names(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::App* sub : verbs_of(app)) words.push_back(sub->get_name());
  return join(words, " ");
}

/// For all three shells.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

std::string bash(const CLI::App& root) {
  std::string out =
      "# bash completion of weft; source it, or put it into /etc/bash_completion.d\n"
      "_weft() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words\n"
      "  if [ \"$prev\" = --set ]; then\n"
      "    compopt -o nospace 2>/dev/null\n"
      "    COMPREPLY=($(compgen -W \"" +
      assignments() +
      "\" -- \"$cur\"))\n"
      "    return\n"
      "  fi\n"
      "  case ${COMP_WORDS[1]} in\n";
  for (const CLI::App* sub : verbs_of(root))
    out += "    " + sub->get_name() + ") words=\"" + words_after(*sub) + "\" ;;\n";
  out +=
      "  esac\n"
      "  [ \"$COMP_CWORD\" -eq 1 ] && words=\"" +
      names(root) +
      " --help --color\"\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
      "}\n"
      "complete -o default -F _weft weft\n";
  return out;
}

std::string zsh(const CLI::App& root) {
  std::string out = "#compdef weft\n_weft() {\n  local -a verbs\n  verbs=(\n";
  for (const CLI::App* sub : verbs_of(root))
    out += "    " + quoted(sub->get_name() + ":" + sub->get_description()) + "\n";
  out +=
      "  )\n"
      "  if (( CURRENT == 2 )); then _describe verb verbs; return; fi\n"
      "  if [[ $words[CURRENT-1] == --set ]]; then compadd -S '' -- " +
      assignments() +
      "; return; fi\n"
      "  case $words[2] in\n";
  for (const CLI::App* sub : verbs_of(root))
    out += "    " + sub->get_name() + ") compadd -- " + words_after(*sub) + " ;;\n";
  return out + "  esac\n  _files\n}\n_weft \"$@\"\n";
}

std::string fish(const CLI::App& root) {
  std::string out;
  for (const CLI::App* sub : verbs_of(root))
    out += "complete -c weft -n __fish_use_subcommand -a " + sub->get_name() + " -d " +
           quoted(sub->get_description()) + "\n";
  for (const CLI::App* sub : verbs_of(root)) {
    const std::string when =
        "complete -c weft -n '__fish_seen_subcommand_from " + sub->get_name() + "'";
    for (const CLI::App* inner : verbs_of(*sub))
      out += when + " -a " + inner->get_name() + " -d " + quoted(inner->get_description()) + "\n";
    for (const CLI::Option* option : sub->get_options()) {
      if (option->get_positional()) continue;
      std::string line = when;
      for (const std::string& name : option->get_lnames()) line += " -l " + name;
      for (const std::string& name : option->get_snames()) line += " -s " + name;
      if (option->get_items_expected_max() > 0) line += " -r";
      if (option->check_lname("set")) line += " -a '" + assignments() + "'";
      out += line + " -d " + quoted(option->get_description()) + "\n";
    }
    if (sub->get_name() == "explain") {
      out += when + " -a '";
      for (const runtime::Field& field : runtime::fields()) out += field.path + " ";
      out += "'\n";
    }
    if (sub->get_name() == "completion") out += when + " -a 'bash zsh fish'\n";
  }
  return out;
}

}  // namespace

std::string completion_script(const CLI::App& root, const std::string& shell) {
  return shell == "bash" ? bash(root) : shell == "zsh" ? zsh(root) : fish(root);
}

}  // namespace weft::cli
