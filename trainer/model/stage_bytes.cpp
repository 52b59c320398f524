// What a stage holds, asked of each owner.
#include "trainer/model/next_token_block.h"
#include "trainer/model/stage_base.h"

namespace weft::trainer {

namespace {

using Exchange = comm::ExpertExchange<Real>;

std::size_t packed_bytes(const Matrix& matrix) {
  return matrix.packed.forward.storage.capacity() + matrix.packed.backward.storage.capacity() +
         matrix.dequantized.storage.capacity();
}

std::size_t packed_bytes(const MlpWeights& mlp) {
  return packed_bytes(mlp.gate_up) + packed_bytes(mlp.down);
}

std::size_t packed_bytes(const StageWeights& weights) {
  std::size_t bytes = packed_bytes(weights.head) + packed_bytes(weights.eh_proj);
  for (const LayerWeights& layer : weights.layers) {
    for (const Matrix* matrix : {&layer.q_down, &layer.q_up, &layer.kv_down, &layer.kv_up,
                                 &layer.out, &layer.k, &layer.v, &layer.gate})
      bytes += packed_bytes(*matrix);
    bytes += packed_bytes(layer.mlp);
    for (const MlpWeights& expert : layer.experts) bytes += packed_bytes(expert);
  }
  return bytes;
}

std::size_t exchange_bytes(const StageBase& stage) {
  std::size_t bytes = stage.exchange ? stage.exchange->memory_bytes() : 0;
  for (const auto& layout : stage.layouts) bytes += Exchange::memory_bytes(*layout);
  return bytes;
}

template <class Cache>
std::size_t cache_bytes(const std::vector<std::vector<Cache>>& slots) {
  std::size_t bytes = 0;
  for (const auto& layers : slots)
    for (const Cache& cache : layers) bytes += cache.memory_bytes();
  return bytes;
}

}  // namespace

StageBytes StageModel::held_bytes() const {
  StageBytes bytes;
  bytes.activations = impl_->arena.peak_taken_bytes();
  bytes.exchange = exchange_bytes(*impl_);
  bytes.packed = packed_bytes(impl_->weights);
  bytes.cache = cache_bytes(impl_->caches) + cache_bytes(impl_->head_caches);
  if (impl_->replicas != nullptr) {
    bytes.replicas = impl_->replicas->set.values().size_bytes();
    for (const LayerReplicas& layer : impl_->replicas->layers)
      for (const MlpWeights& seat : layer.seats) bytes.packed_replicas += packed_bytes(seat);
  }
  if (impl_->next != nullptr) {  // it shares the arena
    const StageBytes further = impl_->next->block.held_bytes();
    bytes.exchange += further.exchange;
    bytes.packed += further.packed;
  }
  return bytes;
}

}  // namespace weft::trainer
