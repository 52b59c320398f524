#include "comm/exchange/expert_exchange.h"

#include "comm/exchange/one_hop.h"
#include "comm/exchange/replica_hop.h"
#include "comm/exchange/two_hop.h"

namespace weft::comm {

template <class Real>
struct ExpertExchange<Real>::Impl {
  using Private = ExpertLayout::Private;

  Communicator& group;
  int top_k, max_tokens;
  ExpertPlacement placement;  // without replicas: a token's choice is also its seat
  ExchangeShape shape;
  NodeMap nodes;
  std::unique_ptr<ExchangePath<Real>> path;
  ExchangeShape replica_shape;
  std::unique_ptr<ReplicaHop<Real>> replica_path;  // null: none are open
  std::vector<std::int32_t> last_token;  // per expert, to find one that a token chose twice

  ByteBuffer encoded;  // [num_tokens] rows as they travel

  Impl(Communicator& g, int experts, int k, int hidden, int tokens, const ExchangeOptions& options)
      : group(g), top_k(k), max_tokens(tokens) {
    WEFT_CHECK(experts > 0 && experts % g.size() == 0, "experts must divide evenly over the group");
    WEFT_CHECK(k > 0 && k <= experts && hidden > 0 && tokens >= 0, "shape of an expert exchange");
    placement = ExpertPlacement::at_home(experts, g.size());
    shape = {sizeof(Real),
             static_cast<std::uint32_t>(hidden),
             static_cast<std::uint32_t>(placement.seats_per_rank),
             static_cast<std::uint32_t>(tokens),
             static_cast<std::uint32_t>(k),
             options.dispatch_payload};
    last_token.resize(static_cast<std::size_t>(experts));
    nodes = options.nodes.empty() ? NodeMap::one_node(g.size()) : options.nodes;
    WEFT_CHECK(nodes.num_ranks() == g.size(), "a node map of another group");
    if (options.hops == Hops::two && nodes.num_nodes() > 1)
      path = std::make_unique<TwoHop<Real>>(g, shape, nodes);
    else
      path = std::make_unique<OneHop<Real>>(g, shape, nodes);
  }

  /// The rows as they travel; valid until the next call.
  const std::byte* encode(int num_tokens, const Real* rows) {
    if (shape.payload == Payload::full) return reinterpret_cast<const std::byte*>(rows);
    const auto n = static_cast<std::size_t>(num_tokens);
    std::byte* const out = encoded.at_least(n * shape.forth_row_bytes());
    encode_rows(shape.payload, shape.hidden, n, rows, out);
    return out;
  }

  Expected<void> check(const Choices& choices) {
    if (choices.num_tokens < 0 || choices.num_tokens > max_tokens)
      return fail(Code::InvalidArgument, "a micro-batch of " + std::to_string(choices.num_tokens) +
                                             " tokens in an expert exchange made for " +
                                             std::to_string(max_tokens));
    return check_choices(choices, last_token);
  }

  ExchangePath<Real>& path_of(const Private& p) {
    return p.replicas != nullptr ? static_cast<ExchangePath<Real>&>(*replica_path) : *path;
  }

  Private& begin(ExpertLayout& layout, ExchangeStep step) {
    if (!layout.priv) layout.priv = std::make_shared<Private>();
    Private& p = *layout.priv;
    WEFT_CHECK(!p.step, "an exchange of this layout has not ended yet");
    WEFT_CHECK(step == ExchangeStep::dispatch || !p.row_begin.empty(), "a dispatch comes first");
    p.step = step;
    return p;
  }

  Private& ending(ExpertLayout& layout, ExchangeStep step) {
    WEFT_CHECK(layout.priv && layout.priv->step == step, "an end without its begin");
    return *layout.priv;
  }

  void end(Private& p) {
    path_of(p).release(p);
    p.step.reset();
  }
};

template <class Real>
ExpertExchange<Real>::ExpertExchange(Communicator& group, int num_experts, int top_k, int hidden,
                                     int max_tokens, const ExchangeOptions& options)
    : impl_(std::make_unique<Impl>(group, num_experts, top_k, hidden, max_tokens, options)) {}

template <class Real>
ExpertExchange<Real>::~ExpertExchange() = default;

template <class Real>
int ExpertExchange<Real>::num_local_experts() const {
  return impl_->placement.home_seats();
}

template <class Real>
int ExpertExchange<Real>::first_local_expert() const {
  return impl_->placement.home_seats() * impl_->group.rank();
}

template <class Real>
bool ExpertExchange<Real>::replicas(const ExpertLayout& layout) {
  return layout.priv != nullptr && layout.priv->replicas != nullptr;
}

template <class Real>
const ExchangeTraffic& ExpertExchange<Real>::traffic() const {
  return impl_->path->traffic();
}

template <class Real>
std::size_t ExpertExchange<Real>::memory_bytes() const {
  return impl_->path->memory_bytes() + impl_->encoded.capacity() +
         (impl_->replica_path == nullptr ? 0 : impl_->replica_path->memory_bytes());
}

template <class Real>
std::size_t ExpertExchange<Real>::memory_bytes(const ExpertLayout& layout) {
  return layout_bytes(layout);
}

// After an error in an end_* the group is of no use any more; the flight is not reused, because
// its requests may be unfinished.

template <class Real>
void ExpertExchange<Real>::open_replicas(int seats_per_rank) {
  WEFT_CHECK(seats_per_rank >= 0);
  impl_->replica_shape = impl_->shape;
  impl_->replica_shape.num_local_experts += static_cast<std::uint32_t>(seats_per_rank);
  impl_->replica_path = std::make_unique<ReplicaHop<Real>>(
      impl_->group, impl_->replica_shape, impl_->nodes, impl_->placement.num_experts);
}

template <class Real>
void ExpertExchange<Real>::close_replicas() {
  impl_->replica_path.reset();
}

template <class Real>
Expected<void> ExpertExchange<Real>::begin_dispatch(ExpertLayout& layout, Tag tag, int num_tokens,
                                                    const Real* rows, const std::int32_t* experts,
                                                    const Real* weights, ReplicaPicker* replicas) {
  WEFT_CHECK(replicas == nullptr || impl_->replica_path != nullptr, "no replicas are open");
  const Choices choices{num_tokens, impl_->top_k, experts};
  WEFT_TRY(impl_->check(choices));
  auto& p = impl_->begin(layout, ExchangeStep::dispatch);
  p.replicas = replicas;
  layout.num_tokens = num_tokens;
  impl_->path_of(p).begin_dispatch(p, tag, choices, impl_->encode(num_tokens, rows), weights);
  return {};
}

template <class Real>
Expected<const Real*> ExpertExchange<Real>::end_dispatch(ExpertLayout& layout) {
  auto& p = impl_->ending(layout, ExchangeStep::dispatch);
  WEFT_TRY_ASSIGN(const auto messages, impl_->path_of(p).end_dispatch(p));
  fill_layout<Real>(messages, replicas(layout) ? impl_->replica_shape : impl_->shape, layout);
  impl_->end(p);
  return reinterpret_cast<const Real*>(p.rows.data());
}

template <class Real>
Expected<void> ExpertExchange<Real>::begin_combine(ExpertLayout& layout, Tag tag,
                                                   const Real* rows) {
  auto& p = impl_->begin(layout, ExchangeStep::combine);
  impl_->path_of(p).begin_back(p, tag, rows, false, nullptr);
  return {};
}

template <class Real>
Expected<void> ExpertExchange<Real>::end_combine(ExpertLayout& layout, Real* out) {
  auto& p = impl_->ending(layout, ExchangeStep::combine);
  WEFT_TRY(impl_->path_of(p).end_back(p, layout.num_tokens, out, nullptr));
  impl_->end(p);
  return {};
}

template <class Real>
Expected<void> ExpertExchange<Real>::begin_combine_backward(ExpertLayout& layout, Tag tag,
                                                            const Real* gradients) {
  auto& p = impl_->begin(layout, ExchangeStep::combine_backward);
  impl_->path_of(p).begin_forth(p, tag, impl_->encode(layout.num_tokens, gradients));
  return {};
}

template <class Real>
Expected<const Real*> ExpertExchange<Real>::end_combine_backward(ExpertLayout& layout) {
  auto& p = impl_->ending(layout, ExchangeStep::combine_backward);
  WEFT_TRY_ASSIGN(const auto parts, impl_->path->end_forth(p));
  const auto num_rows = static_cast<std::size_t>(layout.num_rows);
  const ExchangeShape& shape = impl_->shape;
  auto* const gradients =
      reinterpret_cast<Real*>(p.gradients.at_least(num_rows * shape.row_bytes()));
  for (int r = 0; r < impl_->group.size(); ++r)
    decode_rows(shape.payload, shape.hidden, p.num_rows_from(r),
                parts[static_cast<std::size_t>(r)].data(),
                gradients + static_cast<std::size_t>(p.row_begin[static_cast<std::size_t>(r)]) *
                                shape.hidden);
  impl_->end(p);
  return gradients;
}

template <class Real>
Expected<void> ExpertExchange<Real>::begin_dispatch_backward(ExpertLayout& layout, Tag tag,
                                                             const Real* rows,
                                                             const Real* slot_weight_gradients) {
  auto& p = impl_->begin(layout, ExchangeStep::dispatch_backward);
  impl_->path_of(p).begin_back(p, tag, rows, true, slot_weight_gradients);
  return {};
}

template <class Real>
Expected<void> ExpertExchange<Real>::end_dispatch_backward(ExpertLayout& layout, Real* d_rows,
                                                           Real* d_weights) {
  auto& p = impl_->ending(layout, ExchangeStep::dispatch_backward);
  WEFT_TRY(impl_->path->end_back(p, layout.num_tokens, d_rows, d_weights));
  impl_->end(p);
  return {};
}

template class ExpertExchange<float>;
template class ExpertExchange<double>;

}  // namespace weft::comm
