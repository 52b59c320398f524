// How often what is periodic happens, and how late silence counts.
#include "runtime/sim/world_impl.h"

namespace weft::runtime::sim {

namespace {

// Between asking everybody to report and judging silence by the normal bounds again.
constexpr auto kWakeUp = std::chrono::seconds(3);

CoordinatorOptions slowed(CoordinatorOptions options, int factor) {
  options.heartbeat *= factor;
  options.rejoin_bound *= factor;
  options.lease_renew *= factor;
  options.lease_lost_bound *= factor;
  options.tick_gap *= 2 * factor;
  return options;
}

AgentOptions slowed(AgentOptions options, int factor) {
  options.heartbeat *= factor;
  options.resend *= factor;
  options.election.silent_bound *= 2 * factor;
  options.election.lease_bound *= 2 * factor;
  return options;
}

}  // namespace

void World::Impl::set_pace(int factor) {
  if (factor == pace) return;
  pace = factor;
  if (pace > 1) {
    agent_options = slowed(options.agent, pace);
    coordinator_options = slowed(options.coordinator, pace);
    return restart_ticks();
  }
  // Reports that were put off come now; silence counts once they can have arrived.
  agent_options.heartbeat = options.agent.heartbeat;
  agent_options.resend = options.agent.resend;
  coordinator_options.lease_renew = options.coordinator.lease_renew;
  for (int node = 0; node < options.nodes; ++node) {
    if (nodes[node].agent) nodes[node].agent->state.next_report = clock(node);
    if (nodes[node].coordinator) nodes[node].coordinator->state.next_lease = clock(node);
  }
  after(kWakeUp, [this] {
    if (pace > 1) return;
    agent_options = options.agent;
    coordinator_options = options.coordinator;
  });
  restart_ticks();
}

void World::Impl::restart_ticks() {
  for (int node = 0; node < options.nodes; ++node) {
    if (const auto& agent = nodes[node].agent) {
      ++agent->ticks;
      agent_tick_after(draw(Duration::zero(), pace * options.agent_tick), node, agent);
    }
    if (const auto& c = nodes[node].coordinator; c && c->began)
      after(draw(Duration::zero(), pace * options.coordinator_tick),
            [this, c, chain = ++c->ticks] { coordinator_tick(c, chain); });
  }
}

}  // namespace weft::runtime::sim
