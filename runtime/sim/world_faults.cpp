// What goes wrong, and how it is put right.
#include <algorithm>

#include "runtime/sim/world_impl.h"

namespace weft::runtime::sim {

namespace {

const char* name_of(Fault::Kind kind) {
  switch (kind) {
    case Fault::Kind::KillWorker:
      return "kill worker";
    case Fault::Kind::StopWorker:
      return "stop worker";
    case Fault::Kind::FailWorker:
      return "fail worker";
    case Fault::Kind::KillAgent:
      return "kill agent";
    case Fault::Kind::StopAgent:
      return "stop agent";
    case Fault::Kind::KillCoordinator:
      return "kill coordinator";
    case Fault::Kind::StopCoordinator:
      return "stop coordinator";
    case Fault::Kind::CutNode:
      return "cut node";
    case Fault::Kind::CutDirectory:
      return "cut directory";
    case Fault::Kind::FailDirectory:
      return "fail directory";
    case Fault::Kind::JumpClock:
      return "jump clock";
    case Fault::Kind::DamageCheckpoint:
      return "damage checkpoint";
    case Fault::Kind::LoseNode:
      return "lose node";
  }
  return "?";
}

std::string in_seconds(Duration duration) {
  const std::string text = std::to_string(seconds(duration));
  return text.substr(0, text.find('.') + 4) + " s";
}

}  // namespace

std::string describe(const Fault& fault) {
  std::string text =
      in_seconds(fault.at) + " " + name_of(fault.kind) + " " + std::to_string(fault.target);
  if (fault.length > Duration::zero()) text += " for " + in_seconds(fault.length);
  return text;
}

void World::Impl::strike(const Fault& fault) {
  if (observer.struck) observer.struck(now(), fault);
  switch (fault.kind) {
    case Fault::Kind::KillWorker:
    case Fault::Kind::StopWorker:
    case Fault::Kind::FailWorker:
      return workers.strike(fault);
    case Fault::Kind::KillAgent:
    case Fault::Kind::StopAgent:
    case Fault::Kind::LoseNode:
      return strike_agent(fault);
    case Fault::Kind::KillCoordinator:
    case Fault::Kind::StopCoordinator:
      return strike_coordinator(fault);
    default:
      return strike_world(fault);
  }
}

void World::Impl::strike_agent(const Fault& fault) {
  const int node = fault.target;
  NodeBox& box = nodes[node];
  if (fault.kind == Fault::Kind::StopAgent) {
    const std::shared_ptr<AgentProcess> agent = box.agent;
    if (!agent) return;
    agent->stopped = true;
    after(fault.length, [this, agent] { resume(agent); });
    return;
  }
  const bool whole = fault.kind == Fault::Kind::LoseNode;
  kill_agent(node);
  if (whole) box.on = false;
  const Duration back = whole ? fault.length : options.agent_restart;
  if (back > Duration::zero())
    after(back, [this, node, whole] {
      if (whole) nodes[node].on = true;
      start_agent_process(node);
    });
}

void World::Impl::strike_coordinator(const Fault& fault) {
  std::shared_ptr<CoordinatorProcess> leader;
  for (const NodeBox& box : nodes)
    if (box.coordinator && (!leader || box.coordinator->term > leader->term))
      leader = box.coordinator;
  if (!leader) return;
  if (fault.kind == Fault::Kind::KillCoordinator) {
    end_coordinator(leader, CoordinatorExited::How::Crashed, "signal 9 (Killed)");
  } else {
    leader->stopped = true;
    after(fault.length, [this, leader] { resume(leader); });
  }
}

void World::Impl::strike_world(const Fault& fault) {
  const auto later = [&](Action action) {
    if (fault.length > Duration::zero()) after(fault.length, std::move(action));
  };
  const int node = fault.target;
  if (fault.kind == Fault::Kind::CutNode) {
    nodes[node].island = node + 1;
    later([this, node] { nodes[node].island = 0; });
  } else if (fault.kind == Fault::Kind::CutDirectory) {
    nodes[node].directory = false;
    later([this, node] { nodes[node].directory = true; });
  } else if (fault.kind == Fault::Kind::FailDirectory) {
    ++directory_failing;
    later([this] { directory_failing = std::max(directory_failing - 1, 0); });
  } else if (fault.kind == Fault::Kind::JumpClock) {
    nodes[node].clock += fault.length;
  } else {
    directory.damage_newest();
  }
}

void World::Impl::heal() {
  directory_failing = 0;
  good_network = true;
  workers.heal();
  for (int node = 0; node < options.nodes; ++node) {
    NodeBox& box = nodes[node];
    box.island = 0;
    box.directory = true;
    box.on = true;
    if (box.agent) resume(box.agent);
    if (box.coordinator) resume(box.coordinator);
    start_agent_process(node);
  }
}

}  // namespace weft::runtime::sim
