// `weft agent`: this node's part in a run of several nodes that share a run directory.
#include <csignal>
#include <ostream>

#include "base/units.h"
#include "comm/tcp/tcp_world.h"
#include "runtime/agent/agent_shell.h"
#include "runtime/agent/node_checks.h"
#include "runtime/agent/node_leaf.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/verbs.h"
#include "runtime/job/load.h"
#include "runtime/launch/local_run.h"
#include "runtime/worker/peers.h"

namespace weft::cli {

using namespace runtime;

namespace {

/// A run that was prepared for agents has keys for them; another one belongs to its `weft run`.
Expected<RunKeys> keys_for_agents(const RunPaths& paths) {
  std::error_code error;
  if (!std::filesystem::exists(paths.keys() / "run.keys", error)) {
    const std::string how =
        "; prepare it first: weft run JOB --prepare --dir " + paths.root.string();
    if (is_locked(paths))
      return fail(Code::Busy, paths.root.string() + " is being run by 'weft run', alone" + how);
    return fail(Code::NotFound, paths.root.string() + " was not prepared for agents" + how);
  }
  return keys_of_run(paths.keys().string());
}

bool good_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 &&
         name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") ==
             std::string::npos;
}

/// Said now, and not by a worker of the first generation.
Expected<void> check_address(const std::string& host) {
  if (host == "0.0.0.0" || host == "::" || host == "*")
    return fail(Code::InvalidArgument,
                "--listen " + host +
                    " names no node: give the address at which the others reach "
                    "this one");
  const auto place = comm::TcpWorld::listen(host);
  if (!place) return fail_in("--listen", place.error());
  return {};
}

}  // namespace

int verb_agent(const AgentOptions& options, Io& io) {
  const auto run = find_run(options.run);
  if (!run) return report(run.error(), io);
  AgentSetup setup;
  setup.paths = RunPaths{*run};
  setup.node = options.node.empty() ? node_name() : options.node;
  if (!good_name(setup.node)) {
    io.err << "weft: error: --node '" << setup.node
           << "': up to 64 letters, digits, '-' and '_' are a node's name\n";
    return kUsage;
  }
  if (const auto reachable = check_address(options.listen); !reachable)
    return report(reachable.error(), io);
  const auto keys = keys_for_agents(setup.paths);
  if (!keys) return report(keys.error(), io);
  setup.keys = *keys;
  const Loaded loaded = load_job(setup.paths.resolved(), {.overrides = {}, .check_files = false});
  if (!loaded.ok()) {
    io.err << print(loaded.diagnostics, {.color = io.color_err});
    return kConfiguration;
  }
  const int world = loaded.job.parallel.pipeline * loaded.job.parallel.data;
  for (const NodeCheck& check : check_node({.run = *run}, io.clock)) {
    if (!options.quiet || !check.good)
      io.err << (check.good ? "  ok    " : "  FAIL  ") << check.name << ": " << check.text << "\n";
    setup.facts.checks.push_back({check.name, check.good, check.text});
  }
  setup.facts.slots = options.slots > 0 ? options.slots : world;
  setup.facts.roster = options.roster;
  setup.facts.version = build_fingerprint();
  setup.facts.address = options.listen;
  setup.facts.leaf = leaf_of_node(options.leaf);
  setup.metrics = options.metrics;
  setup.listen = options.listen;
  setup.port = loaded.job.control.port;
  setup.alone = false;
  Progress progress(io, options.quiet);
  RunObserver observer;
  observer.event = [&](const std::string&, const std::string& message) {
    progress.note(setup.node + ": " + message);
  };
  const RunResult result = run_agent(loaded.job, setup, observer, io.clock);
  if (result.outcome == Outcome::Finished) return kOk;
  if (result.outcome == Outcome::Stopped) return kInterrupted;
  report(result.error, io);
  return exit_code(result.error.code);
}

}  // namespace weft::cli
