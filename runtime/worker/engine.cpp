#include "runtime/worker/engine.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "runtime/worker/node_copies.h"
#include "runtime/worker/peers.h"
#include "runtime/worker/step_ring.h"
#include "trainer/checkpoint/saver.h"

namespace weft::runtime {

using dualpipe::at_place;
using dualpipe::Kind;
using dualpipe::Place;
using trainer::MicroBatch;
using trainer::Mode;

/// The executor's step-end actions, carried out by the engine.
class Engine::StepEnd final : public dualpipe::StepEnd {
 public:
  explicit StepEnd(Engine& engine) : engine_(engine) {}
  Expected<void> reduce(int stage) override { return engine_.optimizer_->reduce(stage); }
  Expected<void> update() override { return engine_.finish_step(); }
  Expected<void> snapshot() override {
    if (engine_.snapshot_.wanted) engine_.take_snapshot();
    return {};
  }

 private:
  Engine& engine_;
};

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

  context_ = std::make_unique<trainer::kernels::Context>(options.threads);
  comm::Communicator& experts =
      *groups_.at(scheduler::expert_group(place_.position, place_.lane / layout.expert));
  const comm::ExchangeOptions exchange{.nodes = {}, .dispatch_payload = options.dispatch_payload};
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
        options.model, spec, experts, *context_, options.max_tokens, options.recompute, exchange,
        options.precision, options.fp8, first_stage);
    if (stage == 0) first_stage = held.model.get();
    held.model->initialize(options.seed);
    held.adapter = std::make_unique<StageAdapter>(*held.model);
    held.adapter->want_output_hashes(options.replay && options.output_hashes);
  }

  const auto shared = groups_.find(scheduler::embedding_group());
  std::vector<Replica> replicas;
  std::vector<dualpipe::Stage*> adapters(placement_.num_stages(), nullptr);
  for (HeldStage& held : stages_) {
    replicas.push_back({held.stage, held.model.get(),
                        groups_.at(scheduler::dense_group(held.stage)).get(),
                        groups_.at(scheduler::replica_group(held.stage, place_.expert_shard)).get(),
                        shared == groups_.end() ? nullptr : shared->second.get()});
    adapters[held.stage] = held.adapter.get();
  }
  WEFT_TRY_ASSIGN(optimizer_, ShardedOptimizer::create(std::move(replicas), *world_, options.adam));
  make_average();
  step_end_ = std::make_unique<StepEnd>(*this);
  executor_ = std::make_unique<dualpipe::Executor>(
      std::move(adapters), step_end_.get(), *groups_.at(scheduler::pipeline_group(place_.lane)),
      dualpipe::Executor::Options{options.overlap});
  return make_saver();
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

Expected<TrainResult> Engine::train(std::span<const MicroBatch> batch, double lr,
                                    long long adam_step, bool stop, const StepLimits& limits) {
  WEFT_CHECK(static_cast<int>(batch.size()) == num_micro_batches());
  close_replicas();
  step_ = {lr, adam_step, stop, 0, 0, limits, false, {}};
  if (batch.front().trains_next_tokens()) step_.depths = options_.model.num_nextn_predict_layers;
  snapshot_.taken = false;
  for (const MicroBatch& part : batch) step_.num_sequences += part.num_sequences();
  WEFT_TRY(run_step(batch));
  if (!step_.result.applied && options_.replay) return replay(batch);
  remember_loads(step_.result.expert_load);
  return step_.result;
}

Expected<void> Engine::run_step(std::span<const MicroBatch> batch) {
  start_pass(batch, Mode::Train);
  for (HeldStage& held : stages_) {
    held.model->parameters().zero_gradients();
    held.model->clear_expert_load();
    held.model->begin_balance(step_.num_sequences);
  }
  const dualpipe::RecordedPass pass(recorder_, dualpipe::Program::Train);
  WEFT_TRY(executor_->run(train_program_));
  for (HeldStage& held : stages_) held.adapter->take_head_hashes();
  return {};
}

Expected<void> Engine::finish_step() {
  WEFT_TRY_ASSIGN(step_.result, sum_step());
  return step_.result.applied && !step_.hold ? apply_step() : Expected<void>();
}

// One world-wide sum carries everything the ranks must agree on: each number has exactly one writer
// (or is a count), so the sum is exact and the results do not depend on the layout; but the balance
// loss, which is a metric only, adds stages and replicas and depends on it by rounding.
Expected<TrainResult> Engine::sum_step() {
  WEFT_TRY(
      at_place(recorder_, Place::SharedGradients, [&] { return optimizer_->reduce_shared(); }));
  const trainer::ModelConfig& model = options_.model;
  const int num_blocks = model.num_hidden_layers + model.num_nextn_predict_layers;
  const std::size_t tensors = optimizer_->num_tensors();
  const std::size_t losses = tensors, loads = losses + step_.num_sequences,
                    totals = loads + std::size_t(num_blocks) * model.n_routed_experts,
                    depths = totals + 8;
  self_at_ = depths + step_.depths * (step_.num_sequences + 1);
  exchange_.assign(self_at_ + static_cast<std::size_t>(options_.layout.world()), 0.0);
  const std::span<double> all = exchange_;
  if (recorder_ != nullptr)
    all[self_at_ + static_cast<std::size_t>(rank())] =
        static_cast<double>(recorder_->self_ns()) * 1e-9;
  optimizer_->squared_norms(all.first(tensors));
  if (gradient_watch_) {
    for (const ShardedOptimizer::Owned& owned : optimizer_->owned()) {
      const trainer::Parameter& item = owned.set->items()[owned.parameter];
      if (item.trainable) gradient_watch_(item, owned.set->gradient(owned.parameter));
    }
  }
  for (HeldStage& held : stages_) {
    for (auto* part = held.model.get(); part != nullptr; part = part->next_token()) {
      const trainer::StageSpec& spec = part->spec();
      for (int i = 0; i < spec.num_layers; ++i) {
        if (!model.is_moe(spec.first_layer + i)) continue;
        const std::span<double> load = part->expert_load(i);
        std::ranges::copy(
            load, all.begin() + loads + std::size_t(spec.first_layer + i) * model.n_routed_experts);
      }
    }
    all[totals + 5] += held.model->balance_loss();
    if (!held.model->spec().head) continue;
    add_next_token_losses(held, all.subspan(depths));
    for (int slot = 0; slot < static_cast<int>(held.batches.size()); ++slot) {
      const MicroBatch& part = held.batches[slot];
      const trainer::HeadOutput& output = held.model->head_output(slot);
      for (int s = 0; s < part.num_sequences(); ++s)
        for (int t = part.sequence_begin[s]; t < part.sequence_begin[s + 1]; ++t) {
          if (part.targets[t] < 0) continue;
          all[losses + part.sequence_id[s]] += output.loss[t];
          all[totals] += 1;
          all[totals + 1] += output.entropy[t];
          if (part.loss == trainer::LossKind::Grpo) {
            all[totals + 2] += part.grpo.beta > 0 ? output.kl[t] : 0.0;
            all[totals + 3] += output.clipped[t];
          }
        }
    }
  }
  all[totals + 4] = step_.stop ? 1 : 0;
  all[totals + 6] = snapshot_.asked ? 1 : 0;
  all[totals + 7] = copy_.asked ? 1 : 0;
  {
    const dualpipe::Recorded sum(recorder_, dualpipe::Record::What::WorldSum);
    WEFT_TRY(
        at_place(recorder_, Place::WorldSum, [&] { return comm::all_reduce_sum(*world_, all); }));
  }

  TrainResult result;
  double squares = 0;
  for (std::size_t i = 0; i < tensors; ++i) squares += all[i];
  result.grad_norm = std::sqrt(squares);
  for (int s = 0; s < step_.num_sequences; ++s) result.loss += all[losses + s];
  const double count = std::max(1.0, all[totals]);
  result.entropy = all[totals + 1] / count;
  result.kl = all[totals + 2] / count;
  result.clipped = all[totals + 3] / count;
  result.stop_requested = all[totals + 4] > 0;
  result.balance_loss = all[totals + 5];
  snapshot_.wanted = all[totals + 6] > 0;
  copy_.wanted = all[totals + 7] > 0;
  result.expert_load.assign(all.begin() + loads, all.begin() + totals);
  for (int k = 0; k < step_.depths; ++k) {
    const auto of_depth = all.subspan(depths + k * (step_.num_sequences + 1));
    double sum = 0;
    for (int s = 0; s < step_.num_sequences; ++s) sum += of_depth[s];
    result.next_token_loss.push_back(sum / std::max(1.0, of_depth[step_.num_sequences]));
  }
  result.applied = std::isfinite(result.loss) && std::isfinite(result.grad_norm) &&
                   result.loss <= step_.limits.loss && result.grad_norm <= step_.limits.grad_norm;
  return result;
}

Expected<void> Engine::apply_step() {
  const trainer::ModelConfig& model = options_.model;
  const TrainResult& result = step_.result;
  const std::span<double> all = exchange_;
  const std::size_t loads = optimizer_->num_tensors() + step_.num_sequences;
  const dualpipe::Recorded updating(recorder_, dualpipe::Record::What::Optimizer);
  const double clip = options_.clip_norm;
  const double scale = clip > 0 && result.grad_norm > clip ? clip / result.grad_norm : 1.0;
  if (average_) average_->finish();
  WEFT_TRY(at_place(recorder_, Place::Optimizer, [&] {
    return optimizer_->update(step_.lr, scale, step_.adam_step, step_.depths > 0);
  }));
  for (HeldStage& held : stages_)
    for (auto* part = held.model.get(); part != nullptr; part = part->next_token()) {
      const trainer::StageSpec& spec = part->spec();
      for (int i = 0; i < spec.num_layers; ++i)
        if (model.is_moe(spec.first_layer + i) && model.selection_bias)
          part->update_selection_bias(
              i,
              all.subspan(loads + std::size_t(spec.first_layer + i) * model.n_routed_experts,
                          model.n_routed_experts),
              options_.router_bias_update_rate);
    }
  if (average_) average_->begin();
  return {};
}

/// Of each depth that ran: each sequence's sum of negative log-probabilities, then the number of
/// tokens. Without their weight, so that they stand beside the main loss.
void Engine::add_next_token_losses(HeldStage& held, std::span<double> sums) {
  std::size_t at = 0;
  const trainer::StageModel* part = held.model->next_token();
  for (int k = 0; k < step_.depths; ++k, part = part->next_token()) {
    for (int slot = 0; slot < static_cast<int>(held.batches.size()); ++slot) {
      const MicroBatch& batch = part->micro_batch(slot);
      const trainer::HeadOutput& output = part->head_output(slot);
      for (int s = 0; s < batch.num_sequences(); ++s)
        for (int t = batch.sequence_begin[s]; t < batch.sequence_begin[s + 1]; ++t) {
          if (batch.targets[t] < 0) continue;
          sums[at + batch.sequence_id[s]] -= output.logprob[t];
          sums[at + step_.num_sequences] += 1;
        }
    }
    at += step_.num_sequences + 1;
  }
}

void Engine::make_average() {
  if (options_.ema_decay == 0) return;
  std::vector<std::span<const float>> values;
  for (const ShardedOptimizer::Owned& owned : optimizer_->owned())
    if (owned.moments != nullptr) values.push_back(owned.set->value(owned.parameter));
  average_ =
      std::make_unique<trainer::optimizer::ParameterAverage>(std::move(values), options_.ema_decay);
}

Expected<void> Engine::swap_average() {
  average_->finish();
  std::size_t tensor = 0;
  for (const ShardedOptimizer::Owned& owned : optimizer_->owned())
    if (owned.moments != nullptr)
      std::ranges::swap_ranges(owned.set->value(owned.parameter), average_->average(tensor++));
  return optimizer_->spread();
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

Expected<Engine::Scores> Engine::score(std::span<const MicroBatch> batch) {
  WEFT_CHECK(static_cast<int>(batch.size()) == num_micro_batches());
  close_replicas();
  start_pass(batch, Mode::Score);
  WEFT_TRY(run_forward(options_.layout.micro_batches, dualpipe::Program::Score));

  // Where each sequence's tokens lie in one flat array, and each sequence's loss: same on all
  // ranks.
  int num_sequences = 0;
  for (const MicroBatch& part : batch)
    for (const int id : part.sequence_id) num_sequences = std::max(num_sequences, id + 1);
  std::vector<std::size_t> begin(num_sequences + 1, 0);
  for (const MicroBatch& part : batch)
    for (int s = 0; s < part.num_sequences(); ++s)
      begin[part.sequence_id[s] + 1] = part.sequence_begin[s + 1] - part.sequence_begin[s];
  for (int s = 0; s < num_sequences; ++s) begin[s + 1] += begin[s];
  std::vector<float> flat(begin.back(), 0.0f);
  std::vector<double> losses(num_sequences, 0.0);
  for (HeldStage& held : stages_) {
    if (held.model->spec().head)
      for (int slot = 0; slot < static_cast<int>(held.batches.size()); ++slot) {
        const MicroBatch& part = held.batches[slot];
        const trainer::HeadOutput& output = held.model->head_output(slot);
        for (int s = 0; s < part.num_sequences(); ++s)
          for (int t = part.sequence_begin[s]; t < part.sequence_begin[s + 1]; ++t) {
            if (part.targets[t] < 0) continue;
            flat[begin[part.sequence_id[s]] + t - part.sequence_begin[s]] = output.logprob[t];
            losses[part.sequence_id[s]] += output.loss[t];
          }
      }
    held.adapter->end_pass();
  }
  const auto add_up = [&]() -> Expected<void> {
    WEFT_TRY(comm::all_reduce_sum(*world_, std::span<float>(flat)));
    return comm::all_reduce_sum(*world_, std::span<double>(losses));
  };
  WEFT_TRY(at_place(recorder_, Place::Scores, add_up));
  Scores scores;
  for (int s = 0; s < num_sequences; ++s) {
    scores.logprobs.emplace_back(flat.begin() + begin[s], flat.begin() + begin[s + 1]);
    scores.loss += losses[s];
  }
  return scores;
}

void Engine::freeze_reference() {
  reference_.clear();
  for (HeldStage& held : stages_) {
    const std::span<const float> values = held.model->parameters().values();
    reference_.emplace_back(values.begin(), values.end());
  }
}

void Engine::swap_reference() {
  if (average_) average_->finish();
  for (std::size_t i = 0; i < stages_.size(); ++i)
    stages_[i].model->parameters().swap_values(reference_[i]);
}

Expected<Engine::Scores> Engine::score_with_reference(std::span<const MicroBatch> batch) {
  WEFT_CHECK(has_reference());
  swap_reference();
  Expected<Scores> scores = score(batch);
  swap_reference();
  return scores;
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
    bytes.parameters += set.values().size_bytes() + set.gradients().size_bytes();
    bytes.activations += held.model->activation_bytes().peak;
    bytes.replicas += held.model->replica_bytes();
  }
  bytes.optimizer = optimizer_->state_bytes();
  return bytes;
}

}  // namespace weft::runtime
