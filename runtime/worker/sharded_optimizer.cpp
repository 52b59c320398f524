#include "runtime/worker/sharded_optimizer.h"

#include <algorithm>
#include <sstream>

#include "base/check.h"
#include "trainer/optimizer/adamw.h"

namespace weft::runtime {
namespace {

constexpr comm::Tag kGradientTag = comm::Tag{1} << 56;
constexpr comm::Tag kValueTag = comm::Tag{2} << 56;

comm::Tag tag(comm::Tag kind, int stage, std::size_t segment) {
  return kind | static_cast<comm::Tag>(stage + 1) << 24 | segment;
}

/// Which of `parts` owners each size goes to: contiguous runs, as even as whole tensors allow.
std::vector<int> partition(const std::vector<std::int64_t>& sizes, int parts) {
  std::int64_t total = 0;
  for (const std::int64_t size : sizes) total += size;
  std::vector<int> owner(sizes.size());
  std::int64_t before = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    // The tensor's middle decides.
    const std::int64_t middle = before + sizes[i] / 2;
    owner[i] = total == 0
                   ? 0
                   : static_cast<int>(std::min<std::int64_t>(parts - 1, middle * parts / total));
    before += sizes[i];
  }
  return owner;
}

/// out[k] = terms[0][k] + terms[1][k] + ..., added in that order. `out` may be one of the terms.
void sum_ascending(std::span<const float* const> terms, float* out, std::int64_t size) {
  constexpr std::int64_t kBlock = 512;
  float sum[kBlock];
  for (std::int64_t begin = 0; begin < size; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, size - begin);
    std::copy_n(terms[0] + begin, count, sum);
    for (const float* term : terms.subspan(1))
      for (std::int64_t k = 0; k < count; ++k) sum[k] += term[begin + k];
    std::copy_n(sum, count, out + begin);
  }
}

}  // namespace

ShardedOptimizer::ShardedOptimizer(std::vector<Replica> replicas, AdamOptions options)
    : options_(options) {
  for (const Replica& replica : replicas) {
    add_shard(replica, Kind::Dense, *replica.dense);
    add_shard(replica, Kind::Experts, *replica.experts);
    if (replica.shared != nullptr) add_shard(replica, Kind::Shared, *replica.shared);
  }
}

void ShardedOptimizer::add_shard(const Replica& replica, Kind kind, comm::Communicator& group) {
  trainer::ParameterSet& set = replica.model->parameters();
  Shard shard{kind == Kind::Shared ? kShared : replica.stage, &set, &group, {}, {}, {}};
  shard.segments.resize(group.size());
  std::vector<int> members;
  std::vector<std::int64_t> sizes;
  for (int i = 0; i < static_cast<int>(set.items().size()); ++i) {
    const trainer::Parameter& item = set.items()[i];
    const Kind kind_of_item = item.expert                                ? Kind::Experts
                              : item.shared && replica.shared != nullptr ? Kind::Shared
                                                                         : Kind::Dense;
    if (kind_of_item != kind) continue;
    if (!item.trainable) {  // every replica computes it alike; rank 0 of the group keeps it safe
      if (group.rank() == 0) owned_.push_back({&set, i, nullptr});
      continue;
    }
    members.push_back(i);
    sizes.push_back(item.size);
  }
  const std::vector<int> owner = partition(sizes, group.size());
  std::int64_t owned_size = 0;
  for (std::size_t k = 0; k < members.size(); ++k) {
    const trainer::Parameter& item = set.items()[members[k]];
    std::vector<Segment>& segments = shard.segments[owner[k]];
    if (!segments.empty() && segments.back().offset + segments.back().size == item.offset)
      segments.back().size += item.size;
    else
      segments.push_back({item.offset, item.size});
    if (owner[k] != group.rank()) continue;
    Moments& moments = moments_.emplace_back();
    for (int which = 0; which < 2; ++which) {
      if (options_.bf16_moments)
        moments.bf16[which].resize(item.size);
      else
        moments.f32[which].resize(item.size);
    }
    shard.owned.push_back(static_cast<int>(owned_.size()));
    owned_.push_back({&set, members[k], &moments});
    owned_size += item.size;
  }
  if (members.empty() && kind == Kind::Shared) return;  // the other stage's copy is this rank's
  shard.received.resize(group.size());
  std::int64_t segment_size = 0;
  for (const Segment& segment : shard.segments[group.rank()]) segment_size += segment.size;
  WEFT_CHECK(segment_size == owned_size);
  for (int peer = 0; peer < group.size(); ++peer)
    if (peer != group.rank()) shard.received[peer].resize(segment_size);
  shards_.push_back(std::move(shard));
}

Expected<std::unique_ptr<ShardedOptimizer>> ShardedOptimizer::create(std::vector<Replica> replicas,
                                                                     comm::Communicator& world,
                                                                     AdamOptions options) {
  std::unique_ptr<ShardedOptimizer> result(new ShardedOptimizer(std::move(replicas), options));
  WEFT_TRY(result->number_tensors(world));
  return result;
}

// Each rank tells of the tensors it owns, a line each: name, trainable, sizes.
Expected<void> ShardedOptimizer::number_tensors(comm::Communicator& world) {
  std::ostringstream mine;
  for (const Owned& owned : owned_) {
    const trainer::Parameter& item = owned.set->items()[owned.parameter];
    mine << item.name << ' ' << item.trainable;
    for (const std::int64_t size : item.shape) mine << ' ' << size;
    mine << '\n';
  }
  WEFT_TRY_ASSIGN(const std::vector<std::string> all, comm::all_gather_text(world, mine.str()));
  for (const std::string& text : all) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string name;
      TensorInfo info;
      words >> name >> info.trainable;
      for (std::int64_t size; words >> size;) info.shape.push_back(size);
      if (!tensors_.emplace(name, info).second)
        return fail(Code::Internal, "tensor " + name + " has two owners");
    }
  }
  int index = 0;
  for (auto& [name, info] : tensors_) info.index = index++;
  for (const Owned& owned : owned_)
    owned_index_.push_back(tensors_.at(owned.set->items()[owned.parameter].name).index);
  return {};
}

Expected<void> ShardedOptimizer::reduce(int stage) {
  for (Shard& shard : shards_)
    if (shard.stage == stage) WEFT_TRY(reduce(shard));
  return {};
}

Expected<void> ShardedOptimizer::reduce_shared() { return reduce(kShared); }

Expected<void> ShardedOptimizer::reduce(Shard& shard) {
  comm::Communicator& group = *shard.group;
  if (group.size() == 1) return {};
  const std::span<float> gradients = shard.set->gradients();
  const std::vector<Segment>& mine = shard.segments[group.rank()];
  requests_.clear();
  for (int peer = 0; peer < group.size(); ++peer) {
    if (peer == group.rank()) continue;
    std::int64_t at = 0;
    for (std::size_t i = 0; i < mine.size(); ++i) {
      requests_.push_back(group.start_receive(
          peer, tag(kGradientTag, shard.stage, i),
          std::as_writable_bytes(std::span(shard.received[peer]).subspan(at, mine[i].size))));
      at += mine[i].size;
    }
    const std::vector<Segment>& theirs = shard.segments[peer];
    for (std::size_t i = 0; i < theirs.size(); ++i)
      requests_.push_back(
          group.start_send(peer, tag(kGradientTag, shard.stage, i),
                           std::as_bytes(gradients.subspan(theirs[i].offset, theirs[i].size))));
  }
  for (const comm::Request request : requests_) WEFT_TRY(group.wait(request));
  std::vector<const float*>& terms = terms_;
  std::int64_t at = 0;
  for (const Segment& segment : mine) {
    float* own = gradients.data() + segment.offset;
    terms.clear();
    for (int r = 0; r < group.size(); ++r)
      terms.push_back(r == group.rank() ? own : shard.received[r].data() + at);
    sum_ascending(terms, own, segment.size);
    at += segment.size;
  }
  return {};
}

void ShardedOptimizer::squared_norms(std::span<double> by_tensor) const {
  for (std::size_t i = 0; i < owned_.size(); ++i)
    if (owned_[i].moments != nullptr)
      by_tensor[owned_index_[i]] =
          trainer::optimizer::squared_norm(owned_[i].set->gradient(owned_[i].parameter));
}

Expected<void> ShardedOptimizer::update(double lr, double scale, long long step, bool next_tokens) {
  for (const Owned& owned : owned_) {
    if (owned.moments == nullptr) continue;
    const trainer::Parameter& item = owned.set->items()[owned.parameter];
    if (item.next_token && !next_tokens) continue;
    const auto update_with = [&]<class Moment>(std::vector<Moment>(&moments)[2]) {
      trainer::optimizer::adamw<Moment>(owned.set->value(owned.parameter),
                                        owned.set->gradient(owned.parameter), moments[0],
                                        moments[1],
                                        {.lr = lr,
                                         .beta1 = options_.beta1,
                                         .beta2 = options_.beta2,
                                         .epsilon = options_.epsilon,
                                         .weight_decay = item.decay ? options_.weight_decay : 0.0,
                                         .step = step},
                                        scale);
    };
    if (options_.bf16_moments)
      update_with(owned.moments->bf16);
    else
      update_with(owned.moments->f32);
  }
  return spread();
}

Expected<void> ShardedOptimizer::spread() {
  for (Shard& shard : shards_) WEFT_TRY(spread(shard));
  for (const Shard& shard : shards_) shard.set->touch();
  return {};
}

Expected<void> ShardedOptimizer::spread(Shard& shard) {
  comm::Communicator& group = *shard.group;
  if (group.size() == 1) return {};
  const std::span<float> values = shard.set->values();
  requests_.clear();
  for (int peer = 0; peer < group.size(); ++peer) {
    if (peer == group.rank()) continue;
    const std::vector<Segment>& theirs = shard.segments[peer];
    for (std::size_t i = 0; i < theirs.size(); ++i)
      requests_.push_back(group.start_receive(
          peer, tag(kValueTag, shard.stage, i),
          std::as_writable_bytes(values.subspan(theirs[i].offset, theirs[i].size))));
    const std::vector<Segment>& mine = shard.segments[group.rank()];
    for (std::size_t i = 0; i < mine.size(); ++i)
      requests_.push_back(
          group.start_send(peer, tag(kValueTag, shard.stage, i),
                           std::as_bytes(values.subspan(mine[i].offset, mine[i].size))));
  }
  for (const comm::Request request : requests_) WEFT_TRY(group.wait(request));
  return {};
}

void ShardedOptimizer::reset_moments() {
  for (Moments& moments : moments_) {
    for (std::vector<float>& one : moments.f32) std::ranges::fill(one, 0.0f);
    for (std::vector<Bf16>& one : moments.bf16) std::ranges::fill(one, Bf16{});
  }
}

std::size_t ShardedOptimizer::state_bytes() const {
  std::size_t bytes = 0;
  for (const Moments& moments : moments_)
    for (int which = 0; which < 2; ++which) bytes += moments.bytes(which).size();
  for (const Shard& shard : shards_)
    for (const std::vector<float>& received : shard.received)
      bytes += received.size() * sizeof(float);
  return bytes;
}

}  // namespace weft::runtime
