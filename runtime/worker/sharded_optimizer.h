// AdamW over one rank's stages with its state sharded (ZeRO-1): every tensor has one owner among
// the ranks that hold a replica of it. Gradients are summed at the owner in ascending rank order,
// the owner updates, the others receive the new values. Sharding is by whole tensors, so that a
// checkpoint holds each tensor once and any layout can read it back. Source: ZeRO
// (arXiv:1910.02054) section 5.1.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/small_floats.h"
#include "comm/communicator.h"
#include "trainer/model/stage_model.h"

namespace weft::runtime {

/// What a checkpoint calls a tensor's moments: its name and these.
inline constexpr const char* kMoment1 = ".exp_avg";
inline constexpr const char* kMoment2 = ".exp_avg_sq";

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.1;
  bool bf16_moments = false;  // kept in BF16, half the bytes; master weights stay F32
};

/// One stage on this rank with the groups that hold replicas of it.
struct Replica {
  int stage = 0;
  trainer::StageModel* model = nullptr;
  comm::Communicator* dense = nullptr;    // replicas of the dense weights
  comm::Communicator* experts = nullptr;  // replicas of this rank's expert shard
  // Everybody who holds what two stages share (the embedding, with multi-token prediction); null
  // where nothing is shared.
  comm::Communicator* shared = nullptr;
};

/// Threads: one. All ranks call the collective functions in the same order.
class ShardedOptimizer {
 public:
  /// Collective over `world`: agrees on a numbering of all tensors of the model.
  static Expected<std::unique_ptr<ShardedOptimizer>> create(std::vector<Replica> replicas,
                                                            comm::Communicator& world,
                                                            AdamOptions options);

  /// Sums the stage's gradients at their owners. Collective over the stage's holders.
  Expected<void> reduce(int stage);
  /// The same for what stages share, once all of them are done. Collective over its holders.
  Expected<void> reduce_shared();

  /// Tensors of the whole model, over all ranks, by name.
  struct TensorInfo {
    std::vector<std::int64_t> shape;
    bool trainable = true;
    int index = 0;
  };
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  int num_tensors() const { return static_cast<int>(tensors_.size()); }
  /// Writes the squared gradient norm of each tensor that this rank owns to its index.
  void squared_norms(std::span<double> by_tensor) const;

  /// Multiplies the owned gradients by `scale`, updates the owned tensors as step `step` (from 1)
  /// and spreads the new values. Collective over every stage's holders.
  /// `next_tokens`: multi-token prediction modules ran; else theirs are left alone, by weight decay
  /// too.
  Expected<void> update(double lr, double scale, long long step, bool next_tokens = true);
  /// Gives every replica the owners' values, as an update does. Collective likewise.
  Expected<void> spread();

  /// The two moments of a tensor: floats or BF16 numbers, as the options say.
  struct Moments {
    std::vector<float> f32[2];
    std::vector<Bf16> bf16[2];
    /// The bytes of the first (0) or second (1).
    std::span<const std::byte> bytes(int which) const {
      return f32[which].empty() ? std::as_bytes(std::span(bf16[which]))
                                : std::as_bytes(std::span(f32[which]));
    }
  };
  /// A tensor that this rank owns, with its moments (null for what is not trained).
  struct Owned {
    trainer::ParameterSet* set;
    int parameter;
    Moments* moments;
  };
  const std::vector<Owned>& owned() const { return owned_; }
  const AdamOptions& options() const { return options_; }
  /// Moments, and the memory that receives gradients.
  std::size_t state_bytes() const;
  /// Starts the moments anew: a new stage of the recipe does not inherit the last one's.
  void reset_moments();

 private:
  struct Segment {  // contiguous part of a stage's value and gradient buffers
    std::int64_t offset = 0;
    std::int64_t size = 0;
  };
  /// The trainable tensors of one stage that are replicated over one group.
  struct Shard {
    int stage = 0;  // kShared: of two stages
    trainer::ParameterSet* set = nullptr;
    comm::Communicator* group = nullptr;
    std::vector<std::vector<Segment>> segments;  // [owner's rank in group]
    std::vector<std::vector<float>> received;    // [peer] that peer's gradient of our segments
    std::vector<int> owned;                      // indices into owned_
  };
  ShardedOptimizer(std::vector<Replica> replicas, AdamOptions options);
  enum class Kind { Dense, Experts, Shared };
  static constexpr int kShared = -1;
  void add_shard(const Replica& replica, Kind kind, comm::Communicator& group);
  Expected<void> reduce(Shard& shard);
  Expected<void> spread(Shard& shard);
  Expected<void> number_tensors(comm::Communicator& world);

  AdamOptions options_;
  std::vector<Shard> shards_;
  std::vector<Owned> owned_;
  std::deque<Moments> moments_;  // never moves
  std::map<std::string, TensorInfo> tensors_;
  std::vector<int> owned_index_;         // [owned_] number of the tensor in the whole model
  std::vector<comm::Request> requests_;  // kept from step to step: no allocation
  std::vector<const float*> terms_;
};

}  // namespace weft::runtime
