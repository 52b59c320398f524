// Virtual workers: they start, load, tell where they are, and end.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "runtime/rehearse/rehearsal_impl.h"

namespace weft::runtime {
namespace {

constexpr double kLoadingTold = 20;  // seconds between signs of life while loading
constexpr int kSigkill = 9;

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

void Rehearsal::spawn(int node, std::int64_t generation, const RankSlot& where) {
  Worker& worker = workers_[where.rank];
  if (generation > generation_) {
    generation_ = generation;
    num_loaded_ = 0;
    stop_asked_ = false;
    hung_rank_ = -1;
  }
  worker = {Worker::Phase::Starting, node, where.slot, generation, -1, 0};
  Rng rng(options_.seed, "worker start", static_cast<std::uint64_t>(generation),
          static_cast<std::uint64_t>(where.rank));
  const double delay = assumed_.start_seconds * (0.7 + 0.3 * rng.uniform());
  events_.after(from_seconds(delay), [this, node, generation, rank = where.rank] {
    Worker& mine = workers_[rank];
    if (mine.generation != generation || mine.phase != Worker::Phase::Starting) return;
    mine.phase = Worker::Phase::Ready;
    control_.tell(node, WorkerHello{generation, rank, fmt::format("n{:03}:{}", node, 7000 + rank)});
  });
}

void Rehearsal::assign(int node, const AssignWorker& work) {
  Worker& worker = workers_[work.rank];
  if (worker.generation != work.generation || worker.phase != Worker::Phase::Ready) return;
  worker.phase = Worker::Phase::Loading;
  resume_ = work.resume;
  // Rank 0 reads every byte and chooses, as in a run; the others take part.
  if (work.rank == 0 && work.resume) {
    const VirtualCheckpoints::Verdict verdict = checkpoints_.verify(work.resume->name);
    if (verdict.position >= 0) {
      WorkerFailed failed;
      failed.generation = work.generation;
      failed.damaged_checkpoint = work.resume->name;
      failed.error = {Code::Corrupt, "[synthetic] " + work.resume->name + ": " + verdict.reason};
      events_.after(from_seconds(assumed_.load_seconds / 2), [this, node, failed] {
        if (workers_[0].generation == failed.generation &&
            workers_[0].phase == Worker::Phase::Loading) {
          event("skipped_checkpoint", failed.error.message);
          control_.tell(node, failed);
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

void Rehearsal::tell_positions() {
  const bool loading_due = events_.now() - loading_told_ >= from_seconds(kLoadingTold);
  if (loading_due) loading_told_ = events_.now();
  for (std::size_t rank = 0; rank < workers_.size(); ++rank) {
    Worker& worker = workers_[rank];
    const int number = static_cast<int>(rank);
    if (worker.phase == Worker::Phase::Loading && loading_due)
      control_.tell(worker.node, WorkerMoved{worker.generation, number, Activity::Loading, -1,
                                             ++worker.action, Duration(0)});
    if (worker.phase != Worker::Phase::Stepping || worker.told_step == step_ || !stepping_)
      continue;
    worker.told_step = step_;
    control_.tell(worker.node, WorkerMoved{worker.generation, number, Activity::Stepping, step_, 0,
                                           from_seconds(last_step_seconds_)});
  }
}

void Rehearsal::kill(int node, std::int64_t generation, int rank, bool hard) {
  Worker& worker = workers_[rank];
  if (worker.generation != generation || worker.phase == Worker::Phase::None) return;
  if (!hard && rank == hung_rank_) return;  // it does not hear
  worker.phase = Worker::Phase::None;
  events_.after(std::chrono::milliseconds(200), [this, node, generation, rank, hard] {
    control_.tell(node, WorkerExited{generation, rank, 0, hard ? kSigkill : 15, ""});
  });
}

void Rehearsal::shut_down(int node, int rank) {
  Worker& worker = workers_[rank];
  const std::int64_t generation = worker.generation;
  worker.phase = Worker::Phase::None;
  events_.after(std::chrono::milliseconds(200), [this, node, generation, rank] {
    control_.tell(node, WorkerExited{generation, rank, 0, 0, ""});
  });
}

void Rehearsal::abort(std::int64_t generation, const std::string&) {
  if (generation != generation_) return;
  if (stepping_) halt(Loss::Restart);
  lose_until_now();  // noticed
  down_as_ = Loss::Restart;
}

WaitsExplained Rehearsal::explain(std::int64_t generation) {
  const int culprit = hung_rank_;
  return {generation, culprit,
          culprit < 0 ? "[synthetic] nobody can say"
                      : "[synthetic] all ranks wait, directly or not, for " + place_of(culprit)};
}

}  // namespace weft::runtime
