#include "runtime/sim/world.h"

#include <algorithm>

#include "runtime/sim/world_impl.h"

namespace weft::runtime::sim {

namespace {

std::string node_name(int index) {
  std::string digits = std::to_string(index);
  return "n" + std::string(5 - std::min<std::size_t>(digits.size(), 5), '0') + digits;
}

}  // namespace

World::Impl::Impl(const WorldOptions& options_in, const WorkerModel& model_in, Observer observer_in)
    : options(options_in),
      model(model_in),
      observer(std::move(observer_in)),
      rng(options_in.seed, "simulated world") {
  nodes.resize(options.nodes);
  for (int i = 0; i < options.nodes; ++i) {
    nodes[i].name = node_name(i);
    // No two machines' clocks have the same origin, and none reads zero.
    nodes[i].clock = std::chrono::hours(1) + draw(Duration::zero(), std::chrono::hours(1000));
    after(draw(Duration::zero(), std::chrono::milliseconds(500)),
          [this, i] { start_agent_process(i); });
  }
}

void World::Impl::at_time(Duration at, Action action) {
  queue.push({std::max(at, now), num_events++, std::make_shared<Action>(std::move(action))});
}

void World::Impl::after(Duration delay, Action action) { at_time(now + delay, std::move(action)); }

Duration World::Impl::draw(Duration low, Duration high) {
  return low + Duration(static_cast<std::int64_t>(rng.uniform() *
                                                  static_cast<double>((high - low).count())));
}

bool World::Impl::chance(double probability) {
  return probability > 0 && rng.uniform() < probability;
}

Instant World::Impl::clock(int node) const { return Instant(now + nodes[node].clock); }

bool World::Impl::reachable(int a, int b) const {
  return a == b || (nodes[a].on && nodes[b].on && nodes[a].island == nodes[b].island);
}

void World::Impl::send(int from, int to, Action deliver) {
  static const NetOptions kGood;
  const NetOptions& net = good_network ? kGood : options.net;
  const int copies = chance(net.duplicate) ? 2 : 1;
  for (int copy = 0; copy < copies; ++copy) {
    if (from != to && chance(net.loss)) continue;
    const Duration delay = draw(net.delay_min, chance(net.slow) ? net.slow_max : net.delay_max);
    after(delay, [this, from, to, deliver] {
      if (!reachable(from, to)) return;
      ++messages;
      deliver();
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

void World::Impl::resume(const std::shared_ptr<Process>& process) {
  if (!process || !process->stopped) return;
  process->stopped = false;
  while (process->alive && !process->stopped && !process->inbox.empty()) {
    Action action = std::move(process->inbox.front());
    process->inbox.pop_front();
    action();
  }
}

int World::Impl::index_of(const std::string& node) const {
  const auto found = std::ranges::lower_bound(nodes, node, {}, &NodeBox::name);
  return found != nodes.end() && found->name == node ? static_cast<int>(found - nodes.begin()) : -1;
}

bool World::Impl::everybody_left() const { return std::ranges::all_of(nodes, &NodeBox::left); }

Summary World::Impl::run(Duration bound) {
  Summary summary;
  while (!queue.empty() && queue.top().at <= bound) {
    if (everybody_left()) {
      summary.ended = true;
      break;
    }
    const Later next = queue.top();
    queue.pop();
    now = next.at;
    (*next.action)();
  }
  summary.end = end;
  summary.at = now;
  summary.messages = messages;
  summary.decisions = decisions;
  summary.agent_decisions = agent_decisions;
  summary.hash = hash;
  return summary;
}

World::World(const WorldOptions& options, const WorkerModel& model, Observer observer)
    : impl_(std::make_unique<Impl>(options, model, std::move(observer))) {}
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
      impl->to(leader, [impl, leader, request] { impl->tell_coordinator(leader, request); });
    else if (!impl->everybody_left())
      ask(impl->now + std::chrono::seconds(1), request);
  });
}

void World::ask_stop(Duration at) {
  Impl* impl = impl_.get();
  impl->at_time(at, [impl] {
    const std::shared_ptr<AgentProcess> agent = impl->nodes[0].agent;
    impl->to(agent, [impl, agent] { impl->tell_agent(0, agent, AgentStopAsked{}); });
  });
}

void World::heal(Duration at) {
  impl_->at_time(at, [impl = impl_.get()] { impl->heal(); });
}

Summary World::run(Duration bound) { return impl_->run(bound); }
Duration World::now() const { return impl_->now; }
const Directory& World::directory() const { return impl_->directory; }

const CoordinatorState* World::leader() const {
  const CoordinatorProcess* leader = nullptr;
  for (const NodeBox& node : impl_->nodes)
    if (node.coordinator && node.coordinator->alive && node.coordinator->began &&
        (leader == nullptr || node.coordinator->term > leader->term))
      leader = node.coordinator.get();
  return leader == nullptr ? nullptr : &leader->state;
}

}  // namespace weft::runtime::sim
