// Who is there: reports, lost nodes, and what each node is told to be.
#include <algorithm>
#include <utility>

#include "runtime/coordinator/decider.h"

namespace weft::runtime {

void Decider::operator()(const TermBegan& began) {
  CoordinatorState& state = s();
  state.term = began.term;
  state.term_since = now_;
  state.node = began.node;
  state.silent_leader = began.silent_leader;
  state.stored = began.stored;
  state.deposed = false;
  // What only reports say is not known yet; members have their time to say it again.
  for (auto& [name, node] : state.nodes) {
    node.heard = false;
    node.last_heard = now_;
    node.report = 0;
    node.order = {};
    node.taken = 0;
    node.spool_failing_since.reset();
  }
  // A running generation is adopted by forming it again: whoever works already goes on.
  if (state.phase == RunPhase::Running) state.phase = RunPhase::Forming;
  state.ranks.assign(state.world, RankState{});
  state.num_ready = state.num_done = state.num_gone = state.num_not_stepping = 0;
  state.addresses.clear();
  state.shared_addresses.reset();
  state.step = 0;
  state.step_time = {};
  state.last_progress = now_;
  state.explaining.reset();
  state.failing_since.reset();
  state.lease_beat = 0;
  state.next_lease = now_;
  state.lease_renewed = now_;
  state.last_tick = now_;
  state.next_ask = now_;
  // The number that was being claimed may be taken by now, in the name of the former term.
  if (state.phase == RunPhase::Claiming) enter(RunPhase::Waiting, options_.nodes_bound);
  if (state.phase == RunPhase::Forming)
    state.deadline = now_ + options_.forming_bound + options_.rejoin_bound;
  if (state.phase == RunPhase::Ending)
    state.deadline = now_ + options_.ending_bound + options_.rejoin_bound;
  if (state.phase == RunPhase::Closing)
    state.deadline = now_ + options_.closing_bound + options_.rejoin_bound;
  // A number means something to those who have seen the one before.
  if (state.generation == 0)
    say("node " + began.node + " leads");
  else
    say("term " + std::to_string(began.term) + " begins on node " + began.node +
        ", takes over generation " + std::to_string(state.generation) + " (" +
        to_string(state.phase) + ")");
  durable();
}

/// The member that sent the report, or null when it is to be dropped.
Node* Decider::admit(const Report& report) {
  CoordinatorState& state = s();
  const auto found = state.nodes.find(report.node);
  const bool known = found != state.nodes.end() && found->second.incarnation == report.incarnation;
  if (found != state.nodes.end() && report.incarnation < found->second.incarnation) return nullptr;
  if (known && report.number <= found->second.report) return nullptr;
  if (!known && !report.facts) return nullptr;
  if (known) {
    if (report.facts) found->second.facts = *report.facts;
    return &found->second;
  }
  Node& node = state.nodes[report.node];
  if (node.incarnation != 0) {
    want_spool(report.node, node.incarnation);
    drop_ranks(report.node, node,
               "the agent of node " + report.node + " was started again; its workers died");
    durable();
  }
  Node fresh;
  fresh.facts = *report.facts;
  fresh.incarnation = report.incarnation;
  fresh.ranks = std::move(node.ranks);
  fresh.blamed = std::move(node.blamed);
  node = std::move(fresh);
  for (const CheckResult& check : node.facts.checks)
    if (!check.passed)
      node.why_unfit += (node.why_unfit.empty() ? "" : "; ") + check.name + ": " + check.message;
  say("node " + report.node + " joined with " + counted(node.facts.slots, "slot") +
      (node.why_unfit.empty() ? "" : ", not used: " + node.why_unfit));
  return &node;
}

void Decider::operator()(const Report& report) {
  CoordinatorState& state = s();
  if (state.deposed) return;
  if (report.term > state.term) {
    step_down(false, "term " + std::to_string(report.term) + " leads, says node " + report.node);
    return;
  }
  if (report.term < state.term) {
    act(SendBeat{report.node, {state.term, 0}});  // so that it learns of this term
    return;
  }
  Node* node = admit(report);
  if (node == nullptr) return;
  const bool first = !node->heard || node->lost;
  if (node->lost) say("node " + report.node + " is back");
  node->lost = false;
  node->left = report.left;
  node->heard = true;
  node->last_heard = now_;
  node->report = report.number;
  node->taken = report.order;
  node->generation = report.generation;
  node->unacknowledged = report.unacknowledged;
  node->copies = report.copies;
  node->spool_error = report.spool_error;
  if (report.spool_error.empty()) {
    node->spool_failing_since.reset();
  } else if (!node->spool_failing_since) {
    node->spool_failing_since = now_;
    say("node " + report.node + " cannot keep its records: " + report.spool_error);
  }
  take_workers(*node, report);
  learn_saved(report);
  while (state.stops_asked < std::min(report.stops_asked, 2)) (*this)(StopAsked{});
  if (report.saves_asked > node->saves_asked) (*this)(SaveAsked{});
  node->saves_asked = report.saves_asked;
  if (node->left) return;
  if (first && state.phase == RunPhase::Waiting) try_form();
  if (first && state.phase == RunPhase::Running)
    for (const StragglerFlagged& flagged : std::exchange(state.without_spare, {})) (*this)(flagged);
  if (node->order.term != state.term) {
    refresh(report.node, *node);
  } else if (took_order(*node)) {
    act(SendBeat{report.node, {state.term, node->order.number}});
  } else if (now_ - node->told >= options_.heartbeat) {
    node->told = now_;
    act(SendOrder{report.node, node->order});
  } else {  // still on its way; the beat says nothing of it, or it would be asked for at once
    act(SendBeat{report.node, {state.term, node->taken}});
  }
}

void Decider::take_workers(Node& node, const Report& report) {
  CoordinatorState& state = s();
  node.live_workers = static_cast<int>(
      std::ranges::count_if(report.workers, [](const WorkerStatus& w) { return !w.gone; }));
  if (!has_generation() || node.ranks.empty()) return;
  if (report.generation == state.generation) {
    for (const WorkerStatus& status : report.workers) {
      if (!has_generation()) return;  // that was the last one
      take_status(report.node, status);
    }
    return;
  }
  // Its workers of this generation are not there: not yet, or no more.
  if (state.phase == RunPhase::Ending && took_order(node) && node.live_workers == 0)
    drop_ranks(report.node, node, "");
  else if (state.phase == RunPhase::Running || (state.phase == RunPhase::Forming && report.left))
    drop_ranks(report.node, node, "node " + report.node + " has no workers of the generation");
}

/// Every rank of the node is gone, and that is why the generation ends ("": it ends already).
void Decider::drop_ranks(const std::string& name, Node& node, const std::string& why) {
  CoordinatorState& state = s();
  if (!has_generation()) return;
  for (const int rank : node.ranks) {
    RankState& known = state.ranks[rank];
    count_rank(known, -1);
    known.gone = true;
    count_rank(known, 1);
  }
  const bool needed = std::ranges::any_of(
      node.ranks, [&](int rank) { return state.ranks[rank].phase != WorkerPhase::Done; });
  if (!why.empty() && needed) {
    Cause cause{Cause::Kind::NodeLost, node.ranks.front(), name, Code::Unavailable, why};
    note(std::move(cause));
  }
  if (state.phase == RunPhase::Ending && state.num_gone == state.world) finish_ending();
}

void Decider::lose(const std::string& name, Node& node, const std::string& why) {
  node.lost = true;
  node.live_workers = 0;
  if (node.generation > 0 || !node.ranks.empty()) want_spool(name, node.incarnation);
  say(why);
  if (!node.ranks.empty()) drop_ranks(name, node, why);
}

void Decider::want_spool(const std::string& node, std::uint64_t incarnation) {
  const auto [entry, made] = s().spools.try_emplace({node, incarnation}, now_);
  entry->second = now_ + options_.retry;
  act(ReadSpool{node, incarnation});
}

Order Decider::desired(const Node& node) const {
  const CoordinatorState& state = d_.state;
  Order order;
  order.term = state.term;
  const bool forming = state.phase == RunPhase::Forming, running = state.phase == RunPhase::Running;
  if ((forming || running) && !node.ranks.empty()) {
    order.wanted = running ? Wanted::Work : Wanted::Prepare;
    order.generation = state.generation;
    for (const int rank : node.ranks) order.ranks.push_back({rank, state.placement[rank].slot});
    order.resume = state.resume;
    order.addresses = running ? state.shared_addresses : nullptr;
    order.stop = running && (state.stops_asked > 0 || state.pause_asked);
    if (state.save.id > state.saves_done) order.save = state.save;
    return order;
  }
  if (state.phase == RunPhase::Closing || state.phase == RunPhase::Ended) {
    order.wanted = Wanted::Leave;
    order.outcome = state.outcome;
    order.reason = state.reason;
  } else {
    order.reason = state.cause.kind == Cause::Kind::None ? "not needed" : state.cause.text;
  }
  order.hard = state.stops_asked > 1;
  return order;
}

void Decider::refresh(const std::string& name, Node& node) {
  Order order = desired(node);
  order.number = node.order.number;
  if (same_but_number(order, node.order)) return;
  order.number = (node.order.term == order.term ? node.order.number : 0) + 1;
  node.order = order;
  node.told = now_;
  act(SendOrder{name, std::move(order)});
}

void Decider::refresh_all() {
  for (auto& [name, node] : s().nodes)
    if (node.heard && !node.lost && !node.left) refresh(name, node);
}

}  // namespace weft::runtime
