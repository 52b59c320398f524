// One rank's part of the model and everything that computes with it: a training step, a
// forward-only pass, rollout, saving and loading. Knows no recipe, no control plane, no clock. All
// ranks of the world call the same functions with the same values in the same order.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "comm/communicator.h"
#include "dualpipe/executor.h"
#include "runtime/worker/engine_values.h"
#include "runtime/worker/sharded_optimizer.h"
#include "runtime/worker/stage_adapter.h"
#include "runtime/worker/step_sum.h"
#include "scheduler/balance/balance.h"
#include "scheduler/placement.h"
#include "trainer/model/stage_model.h"
#include "trainer/optimizer/parameter_average.h"

namespace weft::trainer::checkpoint {
class Saver;
class Snapshot;
struct Manifest;
struct ManifestInfo;
}  // namespace weft::trainer::checkpoint

namespace weft::runtime {

struct OutputPair;  // runtime/watch/outputs.h
struct CopyNodes;   // copy_nodes.h
class NodeCopies;   // node_copies.h

/// Threads: one.
class Engine {
 public:
  /// Collective. Builds this rank's stages with initial weights from the seed.
  /// Errors: those of the transport; InvalidArgument for an illegal size or when the ranks are not
  /// of one build and one schedule (names both fingerprints).
  static Expected<std::unique_ptr<Engine>> create(comm::Transport& transport,
                                                  const EngineOptions& options);

  ~Engine();

  int rank() const { return place_.rank; }
  const scheduler::Placement& placement() const { return placement_; }
  comm::Communicator& world() { return *world_; }
  /// Micro-batches of one global batch: lanes x micro-batches per lane.
  int num_micro_batches() const;
  /// Does this rank compute with that one? Of the others it needs the sequences' lengths alone.
  bool needs(int micro_batch) const;

  /// One optimizer update on the global batch (num_micro_batches() of mode Train; each rank
  /// computes its own). `adam_step` counts from 1 since the moments were last reset. `stop`: this
  /// rank was asked to stop; the result tells every rank.
  /// A step that is not finite or above `limits` is done again (options.replay). The same bits: it
  /// is left out (with DualPipe after a third try on the ranks of the other direction). Others: the
  /// result says who computed otherwise, and what two of three tries agree on counts. Errors then:
  /// Corrupt when no two do.
  Expected<TrainResult> train(std::span<const trainer::MicroBatch> batch, double lr,
                              long long adam_step, bool stop, const StepLimits& limits = {});
  /// By rank: how long each was busy in the last step's passes, without any wait; 0 where nothing
  /// was recorded. Valid until the next train().
  std::span<const double> self_seconds() const;
  /// By rank: a number that ranks with the same stages share.
  std::vector<int> peers() const;

  struct Scores {
    std::vector<std::vector<float>>
        logprobs;     // [sequence_id][position of the token in its sequence]
    double loss = 0;  // sum over the batch, weights included
  };
  /// Forward only, on micro-batches of mode Score; every rank gets all results. Tokens without a
  /// target have 0.
  Expected<Scores> score(std::span<const trainer::MicroBatch> batch);

  /// Continues each prompt; every rank gets all completions. Both pipeline directions are filled.
  Expected<std::vector<Completion>> generate(std::span<const std::vector<std::int32_t>> prompts,
                                             const GenerateOptions& options);

  /// Of the last generate(). Replicas (options.redundant_experts) are chosen from the loads of the
  /// steps and rollouts before it, get their weights from the experts' home when those have changed
  /// since, and are freed by the next train() or score(). No result depends on them.
  const RolloutLoad& rollout_load() const { return rollout_load_; }

  /// Keeps a copy of the present weights as the reference / computes with it.
  void freeze_reference();
  bool has_reference() const { return !reference_.empty(); }
  Expected<Scores> score_with_reference(std::span<const trainer::MicroBatch> batch);

  /// A moving average of the trained parameters (options.ema_decay).
  bool has_average() const { return average_ != nullptr; }
  /// Puts it in the parameters' place, and at the second call back; only forward passes may come
  /// in between. Collective.
  Expected<void> swap_average();

  /// A new stage of the recipe: moments start anew, the moving average at the present values.
  void reset_moments() {
    optimizer_->reset_moments();
    if (average_) average_->restart();
    snapshot_.taken = false;
  }

  /// For tests and tools that change weights by hand (and touch them): each stage of this rank.
  void each_stage(const std::function<void(trainer::StageModel&)>& visit) {
    for (HeldStage& held : stages_) visit(*held.model);
  }

  /// What this rank holds, in bytes; nothing is counted twice. Call it between passes. Not counted:
  /// scratch memory of kernels, copies for checkpoints, the reference's and the average's weights.
  struct MemoryBytes {
    std::size_t parameters = 0;   // values and gradients
    std::size_t optimizer = 0;    // moments, and gradients received from other replicas
    std::size_t packed = 0;       // copies of weights that products read
    std::size_t activations = 0;  // the most that each stage's were; pipeline messages lie there
    std::size_t exchange = 0;     // of experts: rows that came, messages under way, their lists
    std::size_t collectives = 0;  // what collectives work in
    std::size_t transport = 0;    // rings that this rank has written to; see Communicator
    std::size_t kv_cache = 0;     // of the last generate()
    std::size_t replicas = 0;     // of experts; while generate() has them
    std::size_t packed_replicas = 0;  // copies of those that products read
  };
  MemoryBytes memory_bytes() const;

  /// From now on until begin_save(), the Snapshot action that ends a train() copies every rank's
  /// part of the state aside for it. One rank's wish is enough: the step's sum tells the others.
  void want_snapshot() { snapshot_.asked = true; }
  /// The last train() has put the state aside, and nothing has changed it since: save it now.
  bool has_snapshot() const { return snapshot_.taken; }

  /// From now on until begin_copy(): the next train()s tell every rank that the state after them is
  /// to be copied into memory. One rank's wish is enough.
  void want_copy() { copy_.asked = true; }
  /// Some rank wished so in the last train(): all ranks begin_copy() now.
  bool is_copy_wanted() const { return copy_.wanted; }
  /// Of the tensors that this rank writes.
  std::size_t state_bytes() const;

  struct SaveInfo {
    std::filesystem::path directory;  // the run's ckpt/
    std::string run;
    int attempt = 0;
    long long step = 0;
    long long tokens = 0;
    std::string state;               // the recipe's own JSON
    std::string wall_time;           // RFC 3339
    std::string parent;              // checkpoint that the run resumed from, or ""
    int keep = 3;                    // the newest so many, and beside them:
    long long keep_every_steps = 0;  // those of every so many steps; 0: none
    double keep_every_seconds = 0;   // one of every so long; 0: none
    std::string fingerprint;
  };
  /// Hands a copy of the state as it is now (the step's Snapshot, or one made here) to this rank's
  /// writer and returns; steps may follow at once. Rank 0's writer commits when all have written.
  /// Waits only while two older copies are still being written. No messages; but all ranks begin
  /// the same saves in the same order.
  void begin_save(const SaveInfo& info);
  struct Saved {
    long long step = 0;
    std::string name;           // of the committed directory; rank 0 alone knows it
    std::uint64_t bytes = 0;    // of the checkpoint; of this rank's part where it is not rank 0
    double write_seconds = 0;   // this rank's part
    double commit_seconds = 0;  // rank 0: from then on
    std::vector<std::string> warnings;
  };
  /// What has been saved since the last call. Never waits. Errors: a save's; it ends all saving.
  Expected<std::vector<Saved>> finished_saves();
  /// Waits until all that was begun is saved. Collective.
  Expected<std::vector<Saved>> finish_saves();
  /// begin_save and finish_saves. Collective. Returns the committed directory's name on every rank.
  Expected<std::string> save(const SaveInfo& info);
  /// begin_save into a directory in memory, with a buffer and a writer of its own: waits only while
  /// this rank's part of the copy before is still being written there.
  void begin_copy(const SaveInfo& info);
  /// From now on copies are kept by several nodes together; before the first begin_copy.
  void share_copies(std::unique_ptr<NodeCopies> copies);
  /// Rank 0, where several nodes keep them: the copy of this step may be committed now.
  void allow_copy(long long step);
  /// Rank 0: one is not whole yet, here or on another rank.
  bool is_copying() const;
  /// What has been copied since the last call; a name on the ranks that committed it. Never waits.
  /// Errors: the first copy that failed on this rank, on rank 0 on any; there are no copies any
  /// more after it, and saves go on.
  Expected<std::vector<Saved>> finished_copies();
  /// How long training stood still for saves (copies, and waits for a buffer) since the last call.
  double take_stall_seconds() { return std::exchange(snapshot_.stall_seconds, 0.0); }

  struct Loaded {
    std::string name;  // empty: there was none
    long long step = 0;
    std::string state;
    std::string layout;                // that wrote it: "pipeline 2 x data 2, experts over 2, 1f1b"
    std::vector<std::string> skipped;  // checkpoints passed over, each with the reason
  };
  /// Collective. Reads the newest complete checkpoint, whatever layout wrote it. Every rank checks
  /// the hashes of what it reads; where one is damaged, all take the next older.
  Expected<Loaded> load_newest(const std::filesystem::path& directory);
  /// The same for exactly this one, which somebody else chose among those of the directory; "": for
  /// none, where nothing may be lost by beginning anew. Errors, on every rank: Corrupt when it is
  /// not there or cannot be read whole, or when there are checkpoints and all are damaged.
  Expected<Loaded> load_chosen(const std::filesystem::path& directory, const std::string& name);
  /// Collective. The same for a copy in the memory of `nodes`, written by `generation`: each node's
  /// directory is first brought what its ranks need.
  Expected<Loaded> load_copy(const std::filesystem::path& directory, const std::string& name,
                             std::uint64_t generation, const CopyNodes& nodes);
  /// The same for one checkpoint, by step ("40") or name; "" takes the newest.
  Expected<Loaded> load(const std::filesystem::path& directory, const std::string& which);

  /// Called in every train() with each tensor that this rank owns and its gradient over the whole
  /// batch: reduced, not clipped. Over all ranks each trained tensor comes once.
  using GradientWatch = std::function<void(const trainer::Parameter&, std::span<const float>)>;
  void watch_gradients(GradientWatch watch) { gradient_watch_ = std::move(watch); }

  /// Called with whatever this rank's stages give out, before it is hashed and sent; tests flip
  /// bits there.
  using OutputWatch = std::function<void(int stage, dualpipe::Pass, const dualpipe::Chunk&,
                                         std::span<trainer::Real>)>;
  void watch_outputs(OutputWatch watch);

  /// What the passes do goes there; null: nowhere. The caller says where steps begin and end, and
  /// the recorder must outlive the passes.
  void set_recorder(dualpipe::StepRecorder* recorder);
  dualpipe::StepRecorder* recorder() const { return recorder_; }
  /// Who records; the schedule included.
  dualpipe::RingInfo ring_info() const;
  /// Records that train() writes at most / that one token of generate() or one score() does.
  std::size_t train_records() const;
  std::size_t forward_records();
  int position() const { return executor_->position(); }
  std::span<const dualpipe::Action> program() const { return train_program_; }

 private:
  /// What the seats of an expert group hold.
  struct HeldReplicas {
    std::optional<scheduler::LayerReplicas> slots;  // none: nothing yet
    std::vector<std::uint64_t> version;             // [slot] of the home's weights
  };
  struct HeldStage {
    int stage = 0;
    int direction = 0;
    std::unique_ptr<trainer::StageModel> model;
    std::unique_ptr<StageAdapter> adapter;
    std::span<const trainer::MicroBatch> batches;  // of this lane and direction, in the coming pass
    std::vector<trainer::MicroBatch> decoding;     // rollout makes its own
    std::vector<HeldReplicas> replicas;            // by layer, while there are any
  };
  class StepEnd;

  Engine();
  Expected<void> build(comm::Transport& transport, const EngineOptions& options);
  void build_stages();
  Expected<void> build_optimizer();
  void build_executor();
  std::unique_ptr<dualpipe::StepEnd> make_step_end();
  void start_pass(std::span<const trainer::MicroBatch> batch, trainer::Mode mode);
  Expected<void> run_forward(int micro_batches, dualpipe::Program program);
  Expected<std::span<const dualpipe::Action>> forward_program(int micro_batches);
  Expected<void> run_step(std::span<const trainer::MicroBatch> batch);
  Expected<void> finish_step();
  Expected<TrainResult> sum_step();
  void write_gradients();
  void write_stage(HeldStage& held);
  std::span<double> loads_of(int block);
  TrainResult read_sum() const;
  Expected<void> apply_step();
  Expected<TrainResult> replay(std::span<const trainer::MicroBatch> batch);
  std::uint64_t hash_numbers() const;
  Expected<TrainResult> replay_elsewhere(std::span<const trainer::MicroBatch> batch);
  std::vector<OutputPair> outputs_of_try(bool changed) const;
  void add_gradients(std::vector<OutputPair>& outputs, std::span<const double> numbers) const;
  Expected<TrainResult::Corruption> compare_tries(std::vector<OutputPair> before,
                                                  std::vector<OutputPair> after,
                                                  std::span<const double> numbers);
  void add_next_token_losses(HeldStage& held, std::span<double> sums);
  scheduler::ExpertGrid replica_grid() const;
  bool takes_replicas() const;
  Expected<void> place_replicas();
  Expected<void> place_replicas(HeldStage& held);
  Expected<void> copy_replicas(HeldStage& held, int layer, const comm::ExpertPlacement& placement,
                               std::span<const std::uint64_t> versions, comm::Communicator& group);
  void close_replicas();
  Expected<void> measure_rollout();
  void remember_loads(std::span<const double> loads);
  void swap_reference();
  void make_average();
  void take_snapshot();
  template <class Visit>
  void each_tensor(const Visit& visit) const;
  static Expected<std::vector<Saved>> take_ended(trainer::checkpoint::Saver& saver);
  void copy_state(trainer::checkpoint::Snapshot& into) const;
  trainer::checkpoint::ManifestInfo describe_save(const SaveInfo& info) const;
  Expected<void> make_saver();
  /// `in_parts`: files that this rank does not read may be missing.
  Expected<void> read_checkpoint(const std::filesystem::path& path, Loaded& loaded,
                                 bool in_parts = false);
  std::vector<bool> files_needed(const trainer::checkpoint::Manifest& manifest) const;

  EngineOptions options_;
  scheduler::Placement placement_;
  scheduler::RankPlace place_;
  std::map<std::string, std::unique_ptr<comm::Communicator>> groups_;
  comm::Communicator* world_ = nullptr;
  std::unique_ptr<trainer::kernels::Context> context_;
  std::vector<HeldStage> stages_;  // ascending stage
  std::unique_ptr<ShardedOptimizer> optimizer_;
  // Of the trained tensors that this rank owns, in the order of optimizer_->owned(); or null. It
  // reads values while no step changes them: updates, swaps and loads wait for it (finish).
  std::unique_ptr<trainer::optimizer::ParameterAverage> average_;
  std::unique_ptr<dualpipe::StepEnd> step_end_;
  std::unique_ptr<dualpipe::Executor> executor_;
  dualpipe::StepRecorder* recorder_ = nullptr;
  std::vector<dualpipe::Action> train_program_;
  std::map<int, std::vector<dualpipe::Action>> forward_programs_;
  std::vector<std::vector<float>> reference_;  // per held stage
  std::vector<double> expert_loads_;           // [block][expert] of the last steps and rollouts
  RolloutLoad rollout_load_;
  std::size_t cache_bytes_ = 0;   // of keys and values, of the last generate()
  std::vector<double> step_sum_;  // over the world
  StepSumPlaces sum_places_;      // in it
  struct Snapshot {
    bool asked = false;                                     // by this rank
    bool wanted = false;                                    // by any, as the step's sum said
    bool taken = false;                                     // of the state as it is now
    std::unique_ptr<trainer::checkpoint::Snapshot> buffer;  // null: none is borrowed
    double stall_seconds = 0;
  } snapshot_;
  struct {
    bool asked = false;   // by this rank
    bool wanted = false;  // by any
  } copy_;
  SystemClock system_clock_;
  const Clock* clock_ = &system_clock_;
  std::string saver_mark_;
  std::unique_ptr<NodeCopies> node_copies_;             // null: copies are of one node
  std::unique_ptr<trainer::checkpoint::Saver> saver_;   // its thread ends first
  std::unique_ptr<trainer::checkpoint::Saver> copier_;  // into memory; null: never asked

  GradientWatch gradient_watch_;

  // The step in progress, for the update action.
  struct StepInputs {
    double lr = 0;
    long long adam_step = 0;
    bool stop = false;
    int num_sequences = 0;
    int depths = 0;  // of multi-token prediction that run
    StepLimits limits;
    bool hold = false;  // a replay: its update waits for what the tries say
    TrainResult result;
  } step_;
};

}  // namespace weft::runtime
