// `weft nodes`: the nodes of a run; which may be used; whether this one is fit.
#include <nlohmann/json.hpp>
#include <ostream>

#include "runtime/agent/node_checks.h"
#include "runtime/cli/ask_run.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using runtime::RunRequest;

/// {"node", "state": here | lost | left | excluded, "ranks": of the present generation, "address",
/// "heard": its last sign of life (runs of before do not say these), "reason"} by name.
std::vector<json> nodes_of(const json& run) {
  std::map<std::string, json> nodes;
  const json none = json::object();
  const auto members = [&](const char* key) -> const json& {
    const auto found = run.find(key);
    return found != run.end() && found->is_object() ? *found : none;
  };
  for (const auto& [name, state] : members("nodes").items())
    nodes[name] = {{"node", name}, {"state", state}, {"reason", ""}};
  for (const auto& [name, reason] : members("excluded").items())
    nodes[name] = {{"node", name}, {"state", "excluded"}, {"reason", reason}};
  for (auto& [name, node] : nodes) {
    const auto found = members("members").find(name);
    const bool known = found != members("members").end() && found->is_object();
    for (const char* key : {"ranks", "address", "heard"})
      node[key] = known ? found->value(key, json()) : json();
  }
  std::vector<json> list;
  for (auto& [name, node] : nodes) list.push_back(std::move(node));
  return list;
}

/// "0-7,16" of ascending numbers; "-" when there are none.
std::string ranges(const json& ranks) {
  std::string text;
  if (!ranks.is_array()) return "-";
  for (std::size_t begin = 0, end; begin < ranks.size(); begin = end) {
    const auto at = [&](std::size_t i) {
      return ranks[i].is_number_integer() ? ranks[i].get<long long>() : -1;
    };
    for (end = begin + 1; end < ranks.size() && at(end) == at(end - 1) + 1;) ++end;
    text += (text.empty() ? "" : ",") + std::to_string(at(begin));
    if (end > begin + 1) text += "-" + std::to_string(at(end - 1));
  }
  return text.empty() ? "-" : text;
}

std::string glyph(const json& node) {
  const std::string state = cell(node, "state");
  return (state == "here" ? "● " : state == "excluded" ? "⊘ " : "✖ ") + state;
}

}  // namespace

int verb_nodes_ls(const NodesOptions& options, Io& io) {
  const auto root = find_run(options.run);
  if (!root) return report(root.error(), io);
  const auto state = runtime::read_state(*root);
  if (!state) return report(state.error(), io);
  print_list(io, options.format, "nodes", nodes_of(*state),
             {{"NODE", [](const json& node) { return cell(node, "node"); }},
              {"STATE", glyph},
              {"RANKS", [](const json& node) { return ranges(node["ranks"]); }},
              {"ADDRESS",
               [](const json& node) {
                 const std::string address = cell(node, "address");
                 return address.empty() ? std::string("-") : address;
               }},
              {"HEARD", [&](const json& node) { return ago(node, "heard", io.clock); }},
              {"REASON", [](const json& node) { return cell(node, "reason"); }}},
             "node");
  return kOk;
}

int verb_nodes_exclude(const NodesOptions& options, Io& io) {
  RunRequest request;
  request.kind = RunRequest::Kind::Exclude;
  request.node = options.node;
  request.reason = options.reason;
  request.seconds = options.seconds;
  const int code = ask_run(options.run, request, io);
  if (code != kOk) return code;
  // Not refused: a node may be left out before it comes. A slip of the name should be seen, though.
  const auto root = find_run(options.run);
  const auto run = root ? runtime::read_state(*root) : Expected<json>(json::object());
  if (run && run->contains("nodes") && !(*run)["nodes"].contains(options.node))
    io.err << "No node of that name has come yet: weft nodes ls " << options.run << "\n";
  return kOk;
}

int verb_nodes_include(const NodesOptions& options, Io& io) {
  RunRequest request;
  request.kind = RunRequest::Kind::Include;
  request.node = options.node;
  return ask_run(options.run, request, io);
}

int verb_nodes_test(const NodesOptions& options, Io& io) {
  runtime::NodeCheckOptions what;
  what.run = ".";
  if (!options.run.empty()) {
    const auto root = find_run(options.run);
    if (!root) return report(root.error(), io);
    what.run = *root;
  }
  const auto checks = runtime::check_node(what, io.clock);
  std::vector<json> records;
  for (const runtime::NodeCheck& check : checks)
    records.push_back({{"check", check.name}, {"good", check.good}, {"found", check.text}});
  print_list(io, options.format, "nodes-test", records,
             {{"CHECK", [](const json& check) { return cell(check, "check"); }},
              {"RESULT",
               [](const json& check) {
                 return std::string(check["good"].get<bool>() ? "✔ good" : "✖ bad");
               }},
              {"FOUND", [](const json& check) { return cell(check, "found"); }}},
             "check");
  const auto verdict = runtime::verdict(checks);
  if (verdict) return kOk;
  io.err << "weft: " << verdict.error().message << "\n";
  return kNotSo;
}

}  // namespace weft::cli
