#include "runtime/launch/local_run.h"

#include <cctype>
#include <deque>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/agent/claims.h"
#include "runtime/coordinator_shell/begin_run.h"
#include "runtime/worker/peers.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

RunResult failed(const Error& error) {
  RunResult result;
  result.error = error;
  result.reason = error.message;
  return result;
}

/// A coordinator that led writes the end down itself; where none came to that, it is done here.
void state_the_end(const RunPaths& paths, const RunResult& result, const Clock& clock) {
  const auto claims = read_claims(paths);
  if (claims && claims->end) return;
  auto store = RunStore::join(paths.root, clock);
  if (!store) return;
  const RunState state = result.outcome == Outcome::Finished  ? RunState::Finished
                         : result.outcome == Outcome::Stopped ? RunState::Stopped
                                                              : RunState::Failed;
  (void)(*store)->append_event(to_string(state), result.reason, json::object());
  (void)(*store)->set_state(state, result.reason);
}

}  // namespace

RunResult run_locally(const Job& job, std::unique_ptr<RunStore> store, const RunObserver& observer,
                      const Clock& clock) {
  const int world = job.parallel.pipeline * job.parallel.data;
  AgentSetup setup;
  setup.paths = store->paths();
  const RunLock lock = RunStore::keep_lock(std::move(store));
  RunResult result;
  // Keys in the directory are for agents: this run has its own, and nobody may join.
  std::error_code ignored;
  std::filesystem::remove_all(setup.paths.keys(), ignored);
  if (const auto begun = begin_run(setup.paths, world, clock); !begun) {
    result = failed(begun.error());
  } else {
    setup.node = node_name();
    setup.facts.slots = world;
    setup.facts.version = build_fingerprint();
    setup.facts.address = "127.0.0.1";
    setup.keys = make_run_keys();
    setup.listen = job.control.host;
    setup.port = job.control.port;
    result = run_agent(job, setup, observer, clock);
  }
  state_the_end(setup.paths, result, clock);
  return result;
}

Expected<void> prepare_for_agents(const Job& job, std::unique_ptr<RunStore> store,
                                  const Clock& clock) {
  const RunPaths paths = store->paths();
  WEFT_TRY(begin_run(paths, job.parallel.pipeline * job.parallel.data, clock));
  WEFT_TRY(keys_of_run(paths.keys().string()));
  return store->set_state(RunState::Stopped, "prepared for agents: weft agent --run");
}

std::string node_name() {
  std::string name = host_name();
  for (char& letter : name)
    if (std::isalnum(static_cast<unsigned char>(letter)) == 0 && letter != '-' && letter != '_')
      letter = '_';
  return name.empty() ? "node" : name;
}

std::string last_log_lines(const std::filesystem::path& log, int count) {
  std::ifstream file(log);
  std::deque<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(std::move(line));
    if (static_cast<int>(lines.size()) > count) lines.pop_front();
  }
  std::string text;
  for (const std::string& line : lines) text += line + '\n';
  return text;
}

}  // namespace weft::runtime
