// Virtual workers: they start, load, tell where they are, and end.
#include <fmt/format.h>

#include "base/rng.h"
#include "runtime/rehearse/rehearsal_impl.h"

namespace weft::runtime {
namespace {

constexpr double kSignOfLife = 20;  // seconds, while loading
constexpr int kSigkill = 9;
constexpr std::chrono::milliseconds kExiting{200};

}  // namespace

int Rehearsal::rank_at(int node, int device) const {
  for (std::size_t rank = 0; rank < workers_.size(); ++rank)
    if (workers_[rank].node == node && workers_[rank].slot == device) return static_cast<int>(rank);
  return -1;
}

std::string Rehearsal::place_of(int rank) const {
  const Worker& worker = workers_[rank];
  return fmt::format("rank {} (position {}, lane {}, n{:03}/{})", rank, rank / job_.parallel.data,
                     rank % job_.parallel.data, worker.node, worker.slot);
}

/// To the agent that started it.
void Rehearsal::tell(int rank, const AgentEvent& event, Duration delay) {
  const Worker& worker = workers_[rank];
  if (worker.node < 0) return;
  events_.after(delay, [this, node = worker.node, incarnation = worker.incarnation, event] {
    world_.tell(node, incarnation, event);
  });
}

void Rehearsal::spawn(int node, std::uint64_t incarnation, const SpawnWorker& spawn) {
  const std::int64_t generation = spawn.generation;
  const RankSlot& where = spawn.where;
  Worker& worker = workers_[where.rank];
  if (generation > generation_) {
    generation_ = generation;
    num_loaded_ = 0;
    stop_asked_ = false;
    hung_rank_ = -1;
  }
  worker = {Worker::Phase::Starting, node, where.slot, generation, incarnation, events_.now()};
  Rng rng(options_.seed, "worker start", static_cast<std::uint64_t>(generation),
          static_cast<std::uint64_t>(where.rank));
  const double delay = assumed_.start_seconds * (0.7 + 0.3 * rng.uniform());
  events_.after(from_seconds(delay), [this, node, generation, rank = where.rank] {
    Worker& mine = workers_[rank];
    if (mine.generation != generation || mine.phase != Worker::Phase::Starting) return;
    mine.phase = Worker::Phase::Ready;
    tell(rank, WorkerHello{generation, rank, fmt::format("n{:03}:{}", node, 7000 + rank)});
  });
}

void Rehearsal::assign(int, const AssignWorker& work) {
  Worker& worker = workers_[work.rank];
  if (worker.generation != work.generation || worker.phase != Worker::Phase::Ready) return;
  worker.phase = Worker::Phase::Loading;
  worker.since = events_.now();
  resume_ = work.resume;
  // Rank 0 reads every byte and chooses, as in a run; the others take part.
  if (work.rank == 0 && work.resume) {
    const VirtualCheckpoints::Verdict verdict = checkpoints_.verify(work.resume->name);
    if (verdict.position >= 0) {
      WorkerFailed failed;
      failed.generation = work.generation;
      failed.damaged_checkpoint = work.resume->name;
      failed.error = {Code::Corrupt, "[synthetic] " + work.resume->name + ": " + verdict.reason};
      events_.after(from_seconds(assumed_.load_seconds / 2), [this, failed] {
        if (workers_[0].generation == failed.generation &&
            workers_[0].phase == Worker::Phase::Loading) {
          event("skipped_checkpoint", failed.error.message);
          tell(0, failed);
        }
      });
      return;
    }
  }
  Rng rng(options_.seed, "worker load", static_cast<std::uint64_t>(work.generation),
          static_cast<std::uint64_t>(work.rank));
  const double delay = assumed_.load_seconds * (0.9 + 0.1 * rng.uniform());
  events_.after(from_seconds(delay), [this, rank = work.rank, generation = work.generation] {
    loaded(rank, generation);
  });
}

void Rehearsal::loaded(int rank, std::int64_t generation) {
  Worker& worker = workers_[rank];
  if (worker.generation != generation || worker.phase != Worker::Phase::Loading) return;
  worker.phase = Worker::Phase::Stepping;
  if (++num_loaded_ == layout().world()) begin_stepping();
}

std::vector<WorkerMoved> Rehearsal::positions(int, const AgentState& agent) {
  std::vector<WorkerMoved> moves;
  for (const auto& [rank, known] : agent.workers) {
    const Worker& worker = workers_[rank];
    if (worker.generation != agent.generation) continue;
    if (worker.phase == Worker::Phase::Loading)
      moves.push_back(
          {worker.generation, rank, Activity::Loading, -1,
           static_cast<std::int64_t>(seconds(events_.now() - worker.since) / kSignOfLife),
           Duration(0)});
    else if (worker.phase == Worker::Phase::Stepping && stepping_ && known.status.step != step_)
      moves.push_back({worker.generation, rank, Activity::Stepping, step_, 0,
                       from_seconds(last_step_seconds_)});
  }
  return moves;
}

void Rehearsal::kill(int, const KillWorker& kill) {
  Worker& worker = workers_[kill.rank];
  if (worker.generation != kill.generation || worker.phase == Worker::Phase::None) return;
  if (!kill.hard && kill.rank == hung_rank_) return;  // it does not hear
  worker.phase = Worker::Phase::None;
  tell(kill.rank, WorkerExited{kill.generation, kill.rank, 0, kill.hard ? kSigkill : 15, ""},
       kExiting);
}

void Rehearsal::shut_down(std::int64_t generation, int rank) {
  workers_[rank].phase = Worker::Phase::None;
  tell(rank, WorkerExited{generation, rank, 0, 0, ""}, kExiting);
}

void Rehearsal::agent_died(int node, std::uint64_t incarnation) {
  bool used = false;
  for (Worker& worker : workers_)
    if (worker.node == node && worker.incarnation == incarnation) {
      used |= worker.phase != Worker::Phase::None && worker.phase != Worker::Phase::Done;
      worker = Worker{};
    }
  if (used) halt(Loss::Restart);
}

void Rehearsal::abort_waits(int, const AbortWaits& abort) {
  if (abort.generation != generation_) return;
  if (stepping_) halt(Loss::Restart);
  lose_until_now();  // noticed
  down_as_ = Loss::Restart;
}

std::optional<WaitsExplained> Rehearsal::explain(std::int64_t generation) {
  const int culprit = hung_rank_;
  return WaitsExplained{
      generation, culprit,
      culprit < 0 ? "[synthetic] nobody can say"
                  : "[synthetic] all ranks wait, directly or not, for " + place_of(culprit)};
}

}  // namespace weft::runtime
