#include "runtime/sim/world.h"

#include <algorithm>

#include "runtime/sim/world_impl.h"

namespace weft::runtime::sim {

World::Impl::Impl(const WorldOptions& options_in, EventQueue& events_in, Workers& workers_in,
                  Observer observer_in)
    : options(options_in),
      events(events_in),
      workers(workers_in),
      observer(std::move(observer_in)),
      agent_options(options.agent),
      coordinator_options(options.coordinator),
      rng(options_in.seed, "simulated world") {
  nodes.resize(options.nodes);
  for (int i = 0; i < options.nodes; ++i) {
    nodes[i].name = node_name(i);
    index[nodes[i].name] = i;
    // No two machines' clocks have the same origin, and none reads zero.
    nodes[i].clock = std::chrono::hours(1) + draw(Duration::zero(), std::chrono::hours(1000));
    after(draw(Duration::zero(), std::chrono::milliseconds(500)),
          [this, i] { start_agent_process(i); });
  }
}

std::string World::Impl::node_name(int node) const {
  const std::string digits = std::to_string(node);
  const std::size_t wanted = static_cast<std::size_t>(options.name_digits);
  return "n" + std::string(wanted - std::min(digits.size(), wanted), '0') + digits;
}

Duration World::Impl::draw(Duration low, Duration high) {
  return low + Duration(static_cast<std::int64_t>(rng.uniform() *
                                                  static_cast<double>((high - low).count())));
}

bool World::Impl::chance(double probability) {
  return probability > 0 && rng.uniform() < probability;
}

Instant World::Impl::clock(int node) const { return events.now() + nodes[node].clock; }

bool World::Impl::reachable(int a, int b) const {
  return a == b || (nodes[a].on && nodes[b].on && nodes[a].island == nodes[b].island);
}

void World::Impl::send(int from, int to, Action arrive) {
  static const NetOptions kGood;
  const NetOptions& net = good_network ? kGood : options.net;
  const int copies = chance(net.duplicate) ? 2 : 1;
  for (int copy = 0; copy < copies; ++copy) {
    if (from != to && chance(net.loss)) continue;
    const Duration delay = draw(net.delay_min, chance(net.slow) ? net.slow_max : net.delay_max);
    after(delay, [this, from, to, arrive] {
      if (!reachable(from, to)) return;
      ++messages;
      arrive();
    });
  }
}

void World::Impl::touch(int node, bool write, std::function<void(bool)> access) {
  after(draw(std::chrono::microseconds(100), options.directory_delay_max),
        [this, node, write, access = std::move(access)] {
          if (!nodes[node].on) return;
          access(nodes[node].directory && !(write && directory_failing > 0));
        });
}

int World::Impl::index_of(const std::string& node) const {
  const auto found = index.find(node);
  return found == index.end() ? -1 : found->second;
}

bool World::Impl::everybody_left() const { return std::ranges::all_of(nodes, &NodeBox::left); }

Summary World::Impl::run(Duration bound) {
  Summary summary;
  while (!events.empty() && events.next() <= Instant(bound)) {
    if (everybody_left()) {
      summary.ended = true;
      break;
    }
    events.step();
  }
  summary.end = end;
  summary.at = now();
  summary.messages = messages;
  summary.decisions = decisions;
  summary.agent_decisions = agent_decisions;
  summary.hash = hash;
  return summary;
}

World::World(const WorldOptions& options, EventQueue& events, Workers& workers, Observer observer)
    : impl_(std::make_unique<Impl>(options, events, workers, std::move(observer))) {
  workers.join(*this);
}
World::~World() = default;

void World::inject(const Fault& fault) {
  impl_->at_time(fault.at, [impl = impl_.get(), fault] { impl->strike(fault); });
}

void World::ask(Duration at, const Event& request) {
  Impl* impl = impl_.get();
  impl->at_time(at, [this, impl, request] {
    std::shared_ptr<CoordinatorProcess> leader;
    for (const NodeBox& node : impl->nodes)
      if (node.coordinator && node.coordinator->began && node.coordinator->alive &&
          (!leader || node.coordinator->term > leader->term))
        leader = node.coordinator;
    if (leader)
      deliver(leader, [impl, leader, request] { impl->tell_coordinator(leader, request); });
    else if (!impl->everybody_left())
      ask(impl->now() + std::chrono::seconds(1), request);
  });
}

void World::heal(Duration at) {
  impl_->at_time(at, [impl = impl_.get()] { impl->heal(); });
}

Summary World::run(Duration bound) { return impl_->run(bound); }
void World::set_pace(int factor) { impl_->set_pace(factor); }
Duration World::now() const { return impl_->now(); }
Directory& World::directory() { return impl_->directory; }
const Directory& World::directory() const { return impl_->directory; }

const CoordinatorState* World::leader() const {
  const CoordinatorProcess* leader = nullptr;
  for (const NodeBox& node : impl_->nodes)
    if (node.coordinator && node.coordinator->alive && node.coordinator->began &&
        (leader == nullptr || node.coordinator->term > leader->term))
      leader = node.coordinator.get();
  return leader == nullptr ? nullptr : &leader->state;
}

const RunEnd& World::end() const { return impl_->end; }
bool World::is_up(int node) const { return impl_->nodes[node].agent != nullptr; }

bool World::deserted() const {
  return impl_->end.outcome != Outcome::Undecided &&
         std::ranges::none_of(impl_->nodes, [](const NodeBox& box) { return bool(box.agent); });
}

void World::tell(int node, std::uint64_t incarnation, const AgentEvent& event) {
  const std::shared_ptr<AgentProcess> agent = impl_->nodes[node].agent;
  if (!agent || agent->incarnation != incarnation) return;
  Impl* impl = impl_.get();
  deliver(agent, [impl, node, agent, event] { impl->tell_agent(node, agent, event); });
}

void World::touch(int node, bool write, std::function<void(bool)> access) {
  impl_->touch(node, write, std::move(access));
}

bool World::reachable(int a, int b) const { return impl_->reachable(a, b); }
std::string World::node_name(int node) const { return impl_->node_name(node); }
const Observer& World::observer() const { return impl_->observer; }
Duration World::draw(Duration low, Duration high) { return impl_->draw(low, high); }
bool World::chance(double probability) { return impl_->chance(probability); }
int World::below(int bound) {
  return static_cast<int>(impl_->rng.below(static_cast<std::uint32_t>(bound)));
}

}  // namespace weft::runtime::sim
