// What the agent's decisions make it do.
#include "runtime/agent/agent_loop.h"
#include "runtime/log/log.h"

namespace weft::runtime {

namespace {

constexpr Duration kAppendAgain = std::chrono::milliseconds(500);  // after the disk refused

}  // namespace

// --- Workers ------------------------------------------------------------------------------------

void AgentLoop::act(const MakeWorld& make) {
  looks_stopped_.clear();
  workers_.reset();
  world_error_.clear();
  WorkerSetOptions options;
  options.generation = make.generation;
  options.world = job_.parallel.pipeline * job_.parallel.data;
  options.paths = setup_.paths;
  for (const RankSlot& slot : make.ranks) options.ranks.push_back(slot.rank);
  options.listen = setup_.listen;
  options.node = setup_.node;
  options.leaf = setup_.facts.leaf;
  options.secret =
      derive_secret(setup_.keys, "ranks of generation " + std::to_string(make.generation));
  find_memory(options);
  auto made = WorkerSet::make(job_, std::move(options));
  if (made)
    workers_ = std::move(*made);
  else
    world_error_ = made.error().message;
}

/// Where the workers may keep copies of their state that outlive them.
void AgentLoop::find_memory(WorkerSetOptions& options) {
  if (job_.checkpoint.memory_every_steps == 0) return;
  if (!memory_) {
    auto made = MemoryRoot::make(setup_.paths.root, setup_.node);
    if (made)
      memory_ = std::move(*made);
    else
      options.no_memory = made.error().message;
  }
  if (memory_) options.memory = memory_->path();
}

bool AgentLoop::has(std::int64_t generation) const {
  return workers_ && workers_->generation() == generation;
}

void AgentLoop::act(const SpawnWorker& spawn) {
  std::string error = world_error_;
  if (workers_ && workers_->generation() == spawn.generation) {
    const auto spawned = workers_->spawn_worker(spawn.where.rank);
    if (spawned) return;
    error = spawned.error().message;
  }
  tell(WorkerExited{spawn.generation, spawn.where.rank, 0, 0, error});
}

void AgentLoop::act(const AssignWorker& assign) {
  if (has(assign.generation)) workers_->assign(assign.rank, assign.resume, assign.addresses.get());
}

void AgentLoop::act(const TellStop& stop) {
  if (workers_) workers_->ask_to_stop(stop.rank);
}

void AgentLoop::act(const TellSave& save) {
  if (workers_) workers_->ask_to_save(save.rank, save.save);
}

void AgentLoop::act(const TellShutdown& shutdown) {
  if (workers_) workers_->let_go(shutdown.rank);
}

void AgentLoop::act(const AbortWaits& abort) {
  if (has(abort.generation)) workers_->abort(abort.reason);
}

void AgentLoop::act(const KillWorker& kill) {
  if (has(kill.generation)) workers_->kill(kill.rank, kill.hard);
}

// --- Records ------------------------------------------------------------------------------------

void AgentLoop::act(const AppendSpool& append) {
  appends_.push_back(append);
  if (appends_.size() == 1) append_all();
}

/// In order; what the disk refuses stays first and is tried again.
void AgentLoop::append_all() {
  for (; !appends_.empty(); appends_.pop_front()) {
    const AppendSpool& next = appends_.front();
    const auto found = bytes_.find({next.generation, next.rank, next.key.sequence});
    if (found != bytes_.end())
      if (const auto written = spool_->append(found->second); !written) {
        next_append_ = clock_.now() + kAppendAgain;
        return tell(SpoolFailed{written.error()});
      }
    tell(SpoolWritten{next.generation, next.rank, next.key.sequence + 1});
  }
}

void AgentLoop::act(const AnswerFlush& answer) {
  if (!workers_) return;
  if (const auto synced = spool_->sync(); !synced) log_warning(synced.error().message);
  workers_->answer_flush(answer.rank, answer.id);
}

void AgentLoop::act(const SendReport& send) { post(send.report); }

void AgentLoop::act(const SendRecords& send) {
  RecordsMessage message{send.records, {}};
  for (const RecordKey& key : send.records.keys) {
    const auto found = bytes_.find({send.records.generation, send.records.rank, key.sequence});
    message.payload.push_back(found == bytes_.end() ? "" : found->second.message);
  }
  post(message);
}

void AgentLoop::post(const WireMessage& message) {
  if (client_) client_->send(encode(message));
}

// --- Who leads ----------------------------------------------------------------------------------

void AgentLoop::act(const ReadClaims&) {
  auto claims = read_claims(setup_.paths);
  if (claims)
    tell(ClaimsRead{std::move(*claims)});
  else
    tell(ClaimsUnreadable{claims.error()});
}

void AgentLoop::act(const ClaimTerm& claim) {
  Claim ours;
  ours.term = claim.term;
  ours.node = setup_.node;
  ours.incarnation = spool_->incarnation();
  const auto won = take_term(setup_.paths, ours);
  if (!won) tell(ClaimsUnreadable{won.error()});
  tell(ClaimDecided{claim.term, won && *won});
}

void AgentLoop::act(const StartCoordinator& start) {
  child_.reset();
  said_.clear();
  CoordinatorSetup setup{setup_.paths.root, start.term,  setup_.node, spool_->incarnation(),
                         setup_.listen,     setup_.port, false,       setup_.keys};
  auto started = CoordinatorChild::start(setup, setup_.paths.logs() / "coordinator.log");
  if (started) {
    child_ = std::move(*started);
  } else {
    log_error(started.error().message);
    tell(CoordinatorExited{start.term, CoordinatorExited::How::Crashed, Outcome::Undecided,
                           started.error().message});
  }
}

void AgentLoop::act(const KillCoordinator&) {
  if (child_) child_->kill();
}

void AgentLoop::act(const Connect& connect) {
  client_.reset();
  // Our own coordinator says where it listens once it does.
  if (!connect.leader.endpoint.empty()) connect_to(connect.leader.endpoint);
}

void AgentLoop::connect_to(const std::string& endpoint) {
  auto client = ChannelClient::connect(endpoint, setup_.node, setup_.keys);
  if (!client) return log_error(client.error().message);
  client_ = std::move(*client);
  tell(LeaderConnected{});
}

void AgentLoop::act(const LeaveRun& leave) {
  left_ = true;
  leaving_ = leave;
}

}  // namespace weft::runtime
