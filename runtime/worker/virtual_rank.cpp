#include "runtime/worker/virtual_rank.h"

#include <algorithm>
#include <set>

#include "runtime/worker/peers.h"

namespace weft::runtime {

using dualpipe::Action;
using dualpipe::Chunk;
using dualpipe::Op;
using dualpipe::Pass;

namespace {

/// The halves of a program's overlapped pairs.
VirtualStage::InPair halves_of_pairs(std::span<const Action> program) {
  std::set<std::array<int, 4>> halves;
  for (const Action& action : program) {
    if (action.op != Op::FB) continue;
    halves.insert({0, action.chunk.direction, action.chunk.stage, action.chunk.micro_batch});
    halves.insert({1, action.other.direction, action.other.stage, action.other.micro_batch});
  }
  return [halves = std::move(halves)](Pass pass, const Chunk& c) {
    return halves.contains({pass == Pass::Backward ? 1 : 0, c.direction, c.stage, c.micro_batch});
  };
}

}  // namespace

/// Real sums over the right ranks, and the time that they are given beside.
class VirtualRank::StepEnd final : public dualpipe::StepEnd {
 public:
  explicit StepEnd(VirtualRank& rank) : rank_(rank) {}

  Expected<void> reduce(int stage) override {
    comm::Communicator& holders = *rank_.groups_.at(scheduler::dense_group(stage));
    const VirtualTimes& times = rank_.options_.times;
    values_.assign(times.reduce_bytes / sizeof(float), 1.0f);
    WEFT_TRY(comm::all_reduce_sum(holders, std::span(values_)));
    const auto wanted = static_cast<float>(holders.size());
    if (std::ranges::any_of(values_, [&](float value) { return value != wanted; }))
      return fail(Code::Corrupt, "the sum over the " + std::to_string(holders.size()) +
                                     " holders of stage " + std::to_string(stage) + " is wrong");
    return wait(times.reduce);
  }
  Expected<void> update() override { return wait(rank_.options_.times.update); }
  // Nothing here is worth a checkpoint.
  Expected<void> snapshot() override { return {}; }

 private:
  Expected<void> wait(Duration length) {
    if (length > Duration(0)) rank_.clock_.sleep_until(rank_.clock_.now() + length);
    return {};
  }

  VirtualRank& rank_;
  std::vector<float> values_;
};

std::int64_t VirtualStep::makespan_ns() const {
  return std::ranges::max(ranks, {}, &VirtualRankStep::end_ns).end_ns;
}

std::int64_t VirtualStep::step_ns() const {
  return std::ranges::max(ranks, {}, &VirtualRankStep::step_end_ns).step_end_ns;
}

VirtualRank::VirtualRank(Clock& clock, const VirtualOptions& options)
    : clock_(clock), options_(options), device_(clock) {}
// After an error sends may still be open: the groups take them back before their memory goes.
VirtualRank::~VirtualRank() { groups_.clear(); }

Expected<std::unique_ptr<VirtualRank>> VirtualRank::create(comm::Transport& transport, Clock& clock,
                                                           const VirtualOptions& options) {
  std::unique_ptr<VirtualRank> rank(new VirtualRank(clock, options));
  WEFT_TRY(rank->build(transport));
  return rank;
}

Expected<void> VirtualRank::build(comm::Transport& transport) {
  const scheduler::Layout& layout = options_.layout;
  if (transport.world_size() != layout.world())
    return fail(Code::InvalidArgument, "the layout needs " + std::to_string(layout.world()) +
                                           " ranks, the transport has " +
                                           std::to_string(transport.world_size()));
  WEFT_TRY_ASSIGN(plan_, plan_virtual(layout, options_.times, options_.overlap));
  const int stages = dualpipe::num_stages(layout.kind, layout.pipeline);
  WEFT_TRY_ASSIGN(const scheduler::Placement placement,
                  scheduler::place(layout, stages * options_.times.layers));
  place_ = placement.ranks[static_cast<std::size_t>(transport.world_rank())];
  WEFT_TRY_ASSIGN(groups_,
                  make_groups(transport, placement, options_.wait_bound,
                              build_fingerprint() + "; " +
                                  plan_fingerprint(placement, plan_.schedule, options_.overlap)));
  world_ = groups_.at(scheduler::world_group()).get();
  build_stages(placement);
  return {};
}

void VirtualRank::build_stages(const scheduler::Placement& placement) {
  const scheduler::Layout& layout = options_.layout;
  const auto& program = plan_.schedule.programs[static_cast<std::size_t>(place_.position)];
  pipeline_ = std::make_unique<WatchedCommunicator>(
      *groups_.at(scheduler::pipeline_group(place_.lane)), device_);
  lanes_ = std::make_unique<WatchedCommunicator>(
      *groups_.at(scheduler::expert_group(place_.position, place_.lane / layout.expert)), device_);
  const auto in_pair = halves_of_pairs(program);
  stages_.resize(placement.stages.size());
  std::vector<dualpipe::Stage*> seen(stages_.size(), nullptr);
  for (const int stage : place_.stages) {
    const VirtualStage::Place place{stage, placement.num_stages(),
                                    dualpipe::num_directions(layout.kind) == 2};
    auto& held = stages_[static_cast<std::size_t>(stage)];
    held = std::make_unique<VirtualStage>(place, options_.times, device_, *lanes_, in_pair);
    seen[static_cast<std::size_t>(stage)] = held.get();
  }
  step_end_ = std::make_unique<StepEnd>(*this);
  dualpipe::Executor::Options options;
  options.overlap = options_.overlap;
  executor_ =
      std::make_unique<dualpipe::Executor>(std::move(seen), step_end_.get(), *pipeline_, options);
}

Expected<VirtualStep> VirtualRank::step(bool stop) {
  WEFT_TRY_ASSIGN(const Instant begin, agree_on_begin());
  clock_.sleep_until(begin);
  device_.start(begin);
  {
    const dualpipe::RecordedPass pass(recorder_, dualpipe::Program::Train);
    WEFT_TRY(executor_->run(plan_.schedule.programs[static_cast<std::size_t>(place_.position)]));
  }
  const VirtualTally& tally = device_.tally();
  VirtualRankStep mine;
  mine.end_ns = (tally.end - begin).count();
  mine.compute_ns = tally.compute.count();
  mine.exchange_ns = tally.exchange.count();
  mine.exposed_ns = tally.exposed.count();
  mine.pair_exchange_ns = tally.pair_exchange.count();
  mine.pair_exposed_ns = tally.pair_exposed.count();
  mine.late_ns = tally.late.count();
  mine.step_end_ns = (clock_.now() - begin).count();
  mine.stop = stop ? 1 : 0;
  VirtualStep all;
  all.ranks.resize(static_cast<std::size_t>(world_->size()));
  WEFT_TRY(dualpipe::at_place(recorder_, dualpipe::Place::Gather, [&] {
    return comm::all_gather(*world_, std::as_bytes(std::span(&mine, 1)),
                            std::as_writable_bytes(std::span(all.ranks)));
  }));
  all.stop_requested =
      std::ranges::any_of(all.ranks, [](const VirtualRankStep& one) { return one.stop != 0; });
  return all;
}

void VirtualRank::set_recorder(dualpipe::StepRecorder* recorder) {
  recorder_ = recorder;
  executor_->set_recorder(recorder);
}

std::size_t VirtualRank::step_records() const {
  return executor_->records_of(plan_.schedule.programs[static_cast<std::size_t>(place_.position)]) +
         1;  // the pass
}

// A step of a real run begins where the ranks have come out of the last one's reduction; here all
// begin at one instant, so that a makespan is a difference of two readings of one clock.
Expected<Instant> VirtualRank::agree_on_begin() {
  const std::int64_t mine = clock_.now().time_since_epoch().count();
  std::vector<std::int64_t> all(static_cast<std::size_t>(world_->size()));
  WEFT_TRY(dualpipe::at_place(recorder_, dualpipe::Place::Begin, [&] {
    return comm::all_gather(*world_, std::as_bytes(std::span(&mine, 1)),
                            std::as_writable_bytes(std::span(all)));
  }));
  return Instant(Duration(std::ranges::max(all))) + options_.start_margin;
}

}  // namespace weft::runtime
