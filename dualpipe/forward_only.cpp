// Orders for forwards alone: evaluation, reference log-probabilities, rollout.
#include <algorithm>

#include "dualpipe/flow.h"
#include "dualpipe/generators.h"

namespace weft::dualpipe {
namespace {

Expected<void> check_forward_size(Kind kind, const Size& size) {
  if (kind == Kind::DualPipe && (size.ranks % 2 != 0 || size.micro_batches % 2 != 0)) {
    const int ranks = std::max(2, size.ranks + size.ranks % 2);
    const int micro_batches = std::max(2, size.micro_batches + size.micro_batches % 2);
    return fail(Code::InvalidArgument,
                "forward-only dualpipe with " + std::to_string(size.ranks) + " ranks and " +
                    std::to_string(size.micro_batches) +
                    " micro-batches: ranks and micro-batches (both directions together) must be "
                    "even. Nearest legal: " +
                    std::to_string(ranks) + " ranks with " + std::to_string(micro_batches) +
                    " micro-batches.");
  }
  // What remains are the bounds; those of any one-directional kind are the same.
  return check_size(Kind::GPipe, {size.ranks, size.micro_batches, 1});
}

/// Each rank runs, in every unit of time, the chunk nearest to its end among those that are ready,
/// so that no rank idles while it has work.
class Greedy {
 public:
  explicit Greedy(Schedule& schedule) : schedule_(schedule), flow_(schedule) {
    done_at_.assign(static_cast<std::size_t>(flow_.size()), -1);
    next_.resize(schedule.programs.size());
    for (int position = 0; position < schedule.ranks; ++position) {
      const auto stages = stages_of(schedule.kind, schedule.ranks, position, schedule.chunks);
      for (std::size_t i = 0; i < stages.size(); ++i) {
        const int direction = schedule.kind == Kind::DualPipe ? static_cast<int>(i)
                              : is_v(schedule.kind) ? v_direction(schedule.ranks, stages[i])
                                                    : 0;
        next_[static_cast<std::size_t>(position)].push_back({direction, stages[i], 0});
      }
    }
  }

  void run() {
    int left = flow_.size();
    for (int now = 0; left > 0; ++now) {
      for (std::size_t position = 0; position < next_.size(); ++position) {
        Chunk* chunk = pick(position, now);
        if (chunk == nullptr) continue;
        schedule_.programs[position].push_back({Op::F, *chunk, {}});
        done_at_[static_cast<std::size_t>(flow_.id(*chunk))] = now + 1;
        ++chunk->micro_batch;
        --left;
      }
    }
  }

 private:
  Chunk* pick(std::size_t position, int now) {
    Chunk* best = nullptr;
    for (Chunk& chunk : next_[position]) {
      if (chunk.micro_batch == flow_.micro_batches()) continue;
      if (const auto before = flow_.before(chunk)) {
        const int done = done_at_[static_cast<std::size_t>(flow_.id(*before))];
        if (done < 0 || done > now) continue;
      }
      if (best == nullptr || chunk.stage > best->stage) best = &chunk;
    }
    return best;
  }

  Schedule& schedule_;
  Flow flow_;
  std::vector<int> done_at_;              // by chunk id; -1: not yet
  std::vector<std::vector<Chunk>> next_;  // per position, one for each of its stages
};

}  // namespace

Expected<Schedule> generate_forward(Kind kind, const Size& size) {
  WEFT_TRY(check_forward_size(kind, size));
  if (kind == Kind::Interleaved && (size.chunks < 1 || size.chunks > 64)) {
    return fail(Code::InvalidArgument,
                "chunks must be 1 to 64, not " + std::to_string(size.chunks));
  }
  Schedule schedule = empty_schedule(kind, size);
  Greedy(schedule).run();
  return schedule;
}

}  // namespace weft::dualpipe
