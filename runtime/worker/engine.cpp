#include "runtime/worker/engine.h"

#include <algorithm>

#include "base/check.h"
#include "runtime/worker/node_copies.h"
#include "runtime/worker/peers.h"
#include "runtime/worker/step_ring.h"
#include "trainer/checkpoint/saver.h"

namespace weft::runtime {

using trainer::MicroBatch;
using trainer::Mode;

Engine::Engine() = default;
// After an error sends may still be open: the groups take them back before their memory goes.
Engine::~Engine() {
  saver_.reset();
  copier_.reset();
  groups_.clear();
}

Expected<std::unique_ptr<Engine>> Engine::create(comm::Transport& transport,
                                                 const EngineOptions& options) {
  std::unique_ptr<Engine> engine(new Engine);
  WEFT_TRY(engine->build(transport, options));
  return engine;
}

Expected<void> Engine::build(comm::Transport& transport, const EngineOptions& options) {
  options_ = options;
  if (options.clock != nullptr) clock_ = options.clock;
  WEFT_TRY(trainer::check_precision(options.precision));
  const scheduler::Layout& layout = options.layout;
  WEFT_TRY_ASSIGN(placement_, scheduler::place(layout, options.model.num_hidden_layers,
                                               options.model.num_nextn_predict_layers));
  if (transport.world_size() != layout.world())
    return fail(Code::InvalidArgument, "the layout needs " + std::to_string(layout.world()) +
                                           " ranks, the transport has " +
                                           std::to_string(transport.world_size()));
  place_ = placement_.ranks[transport.world_rank()];

  WEFT_TRY_ASSIGN(const dualpipe::Schedule computes,
                  dualpipe::generate(layout.kind, {layout.pipeline, layout.micro_batches}));
  const dualpipe::Schedule schedule = dualpipe::add_step_end(dualpipe::add_messages(computes));
  train_program_ = schedule.programs[place_.position];
  WEFT_TRY_ASSIGN(groups_,
                  make_groups(transport, placement_, options.wait_bound,
                              build_fingerprint() + "; " +
                                  plan_fingerprint(placement_, schedule, options.overlap)));
  world_ = groups_.at(scheduler::world_group()).get();
  build_stages();
  WEFT_TRY(build_optimizer());
  build_executor();
  return make_saver();
}

void Engine::build_stages() {
  context_ = std::make_unique<trainer::kernels::Context>(options_.threads);
  const scheduler::Layout& layout = options_.layout;
  comm::Communicator& experts =
      *groups_.at(scheduler::expert_group(place_.position, place_.lane / layout.expert));
  const comm::ExchangeOptions exchange{.nodes = {}, .dispatch_payload = options_.dispatch_payload};
  const bool bidirectional = dualpipe::num_directions(layout.kind) == 2;
  // In ascending order: what the last stage predicts further tokens with is the first one's
  // embedding, where both are here.
  std::vector<int> order(place_.stages.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  std::ranges::sort(order, {}, [&](int i) { return place_.stages[i]; });
  trainer::StageModel* first_stage = nullptr;
  for (const int i : order) {
    const int stage = place_.stages[i];
    const scheduler::StageLayers layers = placement_.stages[stage];
    HeldStage& held = stages_.emplace_back();
    held.stage = stage;
    held.direction = bidirectional ? i : 0;
    const trainer::StageSpec spec{layers.first, layers.count, stage == 0,
                                  stage == placement_.num_stages() - 1, layers.next_token};
    held.model = std::make_unique<trainer::StageModel>(
        options_.model, spec, experts, *context_, options_.max_tokens, options_.recompute, exchange,
        options_.precision, options_.fp8, first_stage);
    if (stage == 0) first_stage = held.model.get();
    held.model->initialize(options_.seed);
    held.adapter = std::make_unique<StageAdapter>(*held.model);
    held.adapter->want_output_hashes(options_.replay && options_.output_hashes);
  }
}

Expected<void> Engine::build_optimizer() {
  const auto shared = groups_.find(scheduler::embedding_group());
  std::vector<Replica> replicas;
  for (HeldStage& held : stages_)
    replicas.push_back({held.stage, held.model.get(),
                        groups_.at(scheduler::dense_group(held.stage)).get(),
                        groups_.at(scheduler::replica_group(held.stage, place_.expert_shard)).get(),
                        shared == groups_.end() ? nullptr : shared->second.get()});
  WEFT_TRY_ASSIGN(optimizer_,
                  ShardedOptimizer::create(std::move(replicas), *world_, options_.adam));
  make_average();
  return {};
}

void Engine::build_executor() {
  std::vector<dualpipe::Stage*> adapters(placement_.num_stages(), nullptr);
  for (HeldStage& held : stages_) adapters[held.stage] = held.adapter.get();
  step_end_ = make_step_end();
  executor_ = std::make_unique<dualpipe::Executor>(
      std::move(adapters), step_end_.get(), *groups_.at(scheduler::pipeline_group(place_.lane)),
      dualpipe::Executor::Options{options_.overlap});
}

int Engine::num_micro_batches() const {
  return options_.layout.data * options_.layout.micro_batches;
}

// A lane's micro-batches of one direction stand side by side in the global batch, so every stage
// looks at its own part of it and nothing is copied.
bool Engine::needs(int micro_batch) const {
  const scheduler::Layout& layout = options_.layout;
  const int count = layout.micro_batches / dualpipe::num_directions(layout.kind);
  for (const HeldStage& held : stages_) {
    const int first = scheduler::micro_batch_index(layout, place_.lane, held.direction, 0);
    if (micro_batch >= first && micro_batch < first + count) return true;
  }
  return false;
}

void Engine::start_pass(std::span<const MicroBatch> batch, Mode mode) {
  const scheduler::Layout& layout = options_.layout;
  const int count = layout.micro_batches / dualpipe::num_directions(layout.kind);
  for (HeldStage& held : stages_) {
    held.batches =
        batch.subspan(scheduler::micro_batch_index(layout, place_.lane, held.direction, 0), count);
    for (const MicroBatch& part : held.batches) WEFT_CHECK(part.mode == mode);
    held.adapter->start_pass(held.batches);
  }
}

Expected<std::span<const dualpipe::Action>> Engine::forward_program(int micro_batches) {
  std::vector<dualpipe::Action>& program = forward_programs_[micro_batches];
  if (program.empty()) {
    WEFT_TRY_ASSIGN(const dualpipe::Schedule schedule,
                    dualpipe::generate_forward(options_.layout.kind,
                                               {options_.layout.pipeline, micro_batches}));
    program = dualpipe::add_messages(schedule).programs[place_.position];
  }
  return std::span<const dualpipe::Action>(program);
}

Expected<void> Engine::run_forward(int micro_batches, dualpipe::Program what) {
  WEFT_TRY_ASSIGN(const auto program, forward_program(micro_batches));
  const dualpipe::RecordedPass pass(recorder_, what, micro_batches);
  return executor_->run(program);
}

void Engine::set_recorder(dualpipe::StepRecorder* recorder) {
  recorder_ = recorder;
  executor_->set_recorder(recorder);
}

dualpipe::RingInfo Engine::ring_info() const { return runtime::ring_info(options_.layout, place_); }

std::size_t Engine::train_records() const {
  constexpr std::size_t kPassSumAndUpdate = 3;
  return executor_->records_of(train_program_) + kPassSumAndUpdate;
}

std::size_t Engine::forward_records() {
  constexpr std::size_t kPassDrawAndGather = 3;
  const scheduler::Layout& layout = options_.layout;
  const int directions = dualpipe::num_directions(layout.kind);
  const int in_flight =
      (layout.pipeline + directions - 1) / directions * directions;  // a rollout's
  const auto program = forward_program(std::max(layout.micro_batches, in_flight));
  return (program ? executor_->records_of(*program) : 0) + kPassDrawAndGather;
}

Engine::MemoryBytes Engine::memory_bytes() const {
  MemoryBytes bytes;
  for (const HeldStage& held : stages_) {
    trainer::ParameterSet& set = held.model->parameters();
    const trainer::StageBytes stage = held.model->held_bytes();
    bytes.parameters += set.values().size_bytes() + set.gradients().size_bytes();
    bytes.packed += stage.packed;
    bytes.activations += stage.activations;
    bytes.exchange += stage.exchange;
    bytes.replicas += stage.replicas;
    bytes.packed_replicas += stage.packed_replicas;
  }
  for (const auto& [name, group] : groups_) {
    bytes.collectives += group->workspace_bytes();
    bytes.transport += group->transport_bytes();
  }
  bytes.optimizer = optimizer_->state_bytes();
  bytes.kv_cache = cache_bytes_;
  return bytes;
}

}  // namespace weft::runtime
