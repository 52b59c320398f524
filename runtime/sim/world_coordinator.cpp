// The shell around the coordinator's decisions: journal first, then act.
#include <nlohmann/json.hpp>

#include "runtime/coordinator/state_json.h"
#include "runtime/sim/world_impl.h"

namespace weft::runtime::sim {

namespace {

template <class... Ts>
struct Match : Ts... {
  using Ts::operator()...;
};

constexpr std::chrono::milliseconds kRetry{300};

bool is_deposed(const CoordinatorAction& action) {
  const auto* down = std::get_if<StepDown>(&action);
  return down != nullptr && !down->abdicated;
}

/// What may be done before the state is in the journal: it says and changes nothing new.
bool waits_for_journal(const CoordinatorAction& action) {
  return !std::holds_alternative<SendBeat>(action) && !std::holds_alternative<RenewLease>(action) &&
         !std::holds_alternative<ReadSpool>(action) && !is_deposed(action);
}

}  // namespace

void World::Impl::start_coordinator(int node, std::int64_t term) {
  auto c = std::make_shared<CoordinatorProcess>();
  processes.add(c);
  c->term = term;
  c->node = node;
  if (nodes[node].coordinator) nodes[node].coordinator->alive = false;
  nodes[node].coordinator = c;
  after(draw(std::chrono::milliseconds(20), std::chrono::milliseconds(200)),
        [this, c] { deliver(c, [this, c] { begin_term(c); }); });
}

/// From the newest journal of an earlier term, through JSON as the real one.
void World::Impl::begin_term(const std::shared_ptr<CoordinatorProcess>& c) {
  touch(c->node, false, [this, c](bool ok) {
    if (!c->alive) return;
    if (!ok) return end_coordinator(c, CoordinatorExited::How::Crashed, "cannot read the journal");
    deliver(c, [this, c] {
      const Directory::Journal* journal = directory.journal_before(c->term);
      if (journal == nullptr) {
        c->state = start_state(options.world, clock(c->node), coordinator_options);
      } else {
        const std::string text = to_json(journal->state, journal->at).dump();
        Expected<CoordinatorState> state =
            state_from_json(nlohmann::json::parse(text, nullptr, false), clock(c->node));
        if (!state)
          return end_coordinator(c, CoordinatorExited::How::Refused, state.error().message);
        c->state = std::move(*state);
      }
      c->began = true;
      const std::string& name = nodes[c->node].name;
      tell_coordinator(c, TermBegan{c->term, name, directory.next_sequences(),
                                    directory.silent_leader(c->term, name)});
      publish(c);
      coordinator_tick(c, c->ticks);
    });
  });
}

void World::Impl::publish(const std::shared_ptr<CoordinatorProcess>& c) {
  touch(c->node, true, [this, c](bool ok) {
    if (!c->alive) return;
    if (ok)
      directory.publish(c->term, nodes[c->node].name + "/" + std::to_string(c->term));
    else
      after(kRetry, [this, c] { publish(c); });
  });
}

void World::Impl::coordinator_tick(const std::shared_ptr<CoordinatorProcess>& c,
                                   std::uint64_t chain) {
  if (!c->alive || c->ticks != chain) return;
  if (!c->stopped) tell_coordinator(c, Tick{});
  after(pace * options.coordinator_tick, [this, c, chain] { coordinator_tick(c, chain); });
}

void World::Impl::tell_coordinator(const std::shared_ptr<CoordinatorProcess>& c,
                                   const Event& event) {
  if (!c->alive) return;
  ++decisions;
  Decision decision = decide(std::move(c->state), event, clock(c->node), coordinator_options);
  c->state = std::move(decision.state);
  if (!decision.reason.empty()) mix_text(decision.reason);
  if (observer.decided) observer.decided(now(), c->state, event, decision.reason);

  CoordinatorProcess::Step step;
  if (decision.durable) step.journal = std::make_shared<CoordinatorState>(c->state);
  step.at = clock(c->node);
  for (CoordinatorAction& action : decision.actions) {
    if (waits_for_journal(action))
      step.actions.push_back(std::move(action));
    else
      do_coordinator(c, action);
  }
  if (step.journal || !step.actions.empty()) c->steps.push_back(std::move(step));
  pump_steps(c);
}

void World::Impl::pump_steps(const std::shared_ptr<CoordinatorProcess>& c) {
  while (c->alive && !c->journaling && !c->steps.empty()) {
    CoordinatorProcess::Step& first = c->steps.front();
    if (!first.journal) {
      const std::vector<CoordinatorAction> actions = std::move(first.actions);
      c->steps.pop_front();
      for (const CoordinatorAction& action : actions)
        if (c->alive) do_coordinator(c, action);
      continue;
    }
    c->journaling = true;
    touch(c->node, true, [this, c](bool ok) {
      if (!c->alive) return;
      if (ok) {
        CoordinatorProcess::Step& written = c->steps.front();
        directory.write_journal(c->term, *written.journal, written.at);
        written.journal.reset();
        const std::int64_t highest = directory.highest_term();
        deliver(c, [this, c, highest] {
          if (highest > c->term) return tell_coordinator(c, LeaseRenewed{highest});
          c->journaling = false;
          if (std::exchange(c->failing, false)) tell_coordinator(c, ShellRecovered{});
          pump_steps(c);
          if (c->alive && c->state.phase == RunPhase::Ended && c->steps.empty())
            end_coordinator(c, CoordinatorExited::How::Ended, c->state.reason);
        });
        return;
      }
      after(kRetry, [this, c] {
        deliver(c, [this, c] {
          c->failing = true;
          c->journaling = false;
          tell_coordinator(c, ShellFailed{{Code::Io, "the journal cannot be written"}, false});
        });
      });
    });
  }
}

/// A record that is in the spool file is stored once.
void World::Impl::store_record(std::int64_t term, const StoreRecords& store,
                               std::int64_t sequence) {
  const Directory::Spool& spool = directory.spool(store.node, store.incarnation);
  const auto found = spool.find({store.generation, store.rank, sequence});
  if (found == spool.end()) return;
  if (directory.store(term, found->first, found->second) && observer.stored)
    observer.stored(store.generation, store.rank, sequence);
}

/// The record store, in order, each until it works.
void World::Impl::pump_stores(const std::shared_ptr<CoordinatorProcess>& c) {
  if (!c->alive || c->storing || c->stores.empty()) return;
  c->storing = true;
  touch(c->node, true, [this, c](bool ok) {
    if (!c->alive) return;
    const CoordinatorAction action = c->stores.front();
    if (ok) {
      c->stores.pop_front();
      if (const auto* truncate = std::get_if<TruncateAfter>(&action)) {
        if (observer.truncated) observer.truncated(truncate->step);
      }
      if (const auto* store = std::get_if<StoreRecords>(&action)) {
        for (const std::int64_t sequence : store->sequences)
          store_record(c->term, *store, sequence);
      }
    }
    after(ok ? Duration::zero() : Duration(kRetry), [this, c, ok, action] {
      deliver(c, [this, c, ok, action] {
        c->storing = false;
        const auto* store = std::get_if<StoreRecords>(&action);
        if (ok && store != nullptr)
          tell_coordinator(c,
                           RecordsStored{store->node, store->generation, store->rank, store->next});
        if (!ok) {
          c->failing = true;
          tell_coordinator(c, ShellFailed{{Code::Io, "records cannot be stored"}, false});
        } else if (std::exchange(c->failing, false)) {
          tell_coordinator(c, ShellRecovered{});
        }
        pump_stores(c);
      });
    });
  });
}

void World::Impl::to_agent(const std::shared_ptr<CoordinatorProcess>& c, const std::string& node,
                           const AgentEvent& event) {
  const int target = index_of(node);
  if (target < 0) return;
  const auto shared = std::make_shared<const AgentEvent>(event);
  send(c->node, target, [this, target, shared] {
    const std::shared_ptr<AgentProcess> agent = nodes[target].agent;
    deliver(agent, [this, target, agent, shared] { tell_agent(target, agent, *shared); });
  });
}

void World::Impl::read_spool(const std::shared_ptr<CoordinatorProcess>& c, const ReadSpool& read) {
  touch(c->node, false, [this, c, read](bool ok) {
    if (!c->alive || !ok) return;
    // By rank, each in sequence, as they lie in the file.
    std::map<std::pair<std::int64_t, int>, Records> batches;
    for (const auto& [id, step] : directory.spool(read.node, read.incarnation)) {
      const auto& [generation, rank, sequence] = id;
      Records& batch = batches[{generation, rank}];
      batch.node = read.node;
      batch.incarnation = read.incarnation;
      batch.generation = generation;
      batch.rank = rank;
      batch.keys.push_back({sequence, step});
    }
    deliver(c, [this, c, read, batches] {
      for (const auto& [key, batch] : batches) tell_coordinator(c, batch);
      tell_coordinator(c, SpoolRead{read.node, read.incarnation});
    });
  });
}

void World::Impl::do_coordinator(const std::shared_ptr<CoordinatorProcess>& c,
                                 const CoordinatorAction& action) {
  const auto back = [this, c](const Event& event) {
    deliver(c, [this, c, event] { tell_coordinator(c, event); });
  };
  std::visit(
      Match{
          [&](const SendOrder& send_order) { to_agent(c, send_order.node, send_order.order); },
          [&](const SendBeat& beat) { to_agent(c, beat.node, beat.beat); },
          [&](const SendAcknowledgement& ack) { to_agent(c, ack.node, ack.acknowledgement); },
          [&](const ClaimGeneration& claim) {
            touch(c->node, true, [this, c, back, claim](bool ok) {
              if (!c->alive || !ok) return;
              back(GenerationClaimed{claim.number,
                                     directory.claim_generation(claim.number, c->term)});
            });
          },
          [&](const ListCheckpoints&) {
            touch(c->node, false, [this, back](bool ok) {
              if (ok) back(CheckpointsListed{workers.checkpoints()});
            });
          },
          [&](const StoreRecords& store) {
            c->stores.push_back(store);
            pump_stores(c);
          },
          [&](const TruncateAfter& truncate) {
            c->stores.push_back(truncate);
            pump_stores(c);
          },
          [&](const ReadSpool& read) { read_spool(c, read); },
          [&](const RenewLease& renew) {
            touch(c->node, true, [this, c, back, renew](bool ok) {
              if (!c->alive || !ok) return;
              directory.renew(renew.term, renew.beat);
              back(LeaseRenewed{directory.highest_term()});
            });
          },
          [&](const ExplainWaits& explain) {
            if (const auto waits = workers.explain(explain.generation)) back(*waits);
          },
          [&](const RecordEnd& record) {
            touch(c->node, true, [this, c, back, record](bool ok) {
              if (!c->alive || !ok) return;
              directory.record_end(c->term, {record.outcome, record.reason});
              back(EndRecorded{});
            });
          },
          [&](const StepDown& down) {
            if (down.abdicated)
              touch(c->node, true, [this, c](bool ok) {
                if (ok) directory.abdicate(c->term);
              });
            end_coordinator(c,
                            down.abdicated ? CoordinatorExited::How::Abdicated
                                           : CoordinatorExited::How::SteppedDown,
                            down.reason);
          },
      },
      action);
}

void World::Impl::end_coordinator(const std::shared_ptr<CoordinatorProcess>& c,
                                  CoordinatorExited::How how, const std::string& reason) {
  if (!c->alive) return;
  c->alive = false;
  const int node = c->node;
  if (nodes[node].coordinator == c) nodes[node].coordinator.reset();
  CoordinatorExited exited;
  exited.term = c->term;
  exited.how = how;
  exited.outcome = c->state.outcome;
  exited.reason = reason;
  const std::shared_ptr<AgentProcess> agent = nodes[node].agent;
  after(std::chrono::milliseconds(5), [this, node, agent, exited] {
    deliver(agent, [this, node, agent, exited] { tell_agent(node, agent, exited); });
  });
}

}  // namespace weft::runtime::sim
