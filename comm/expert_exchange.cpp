#include "comm/expert_exchange.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "comm/expert_messages.h"

namespace weft::comm {
namespace {

/// Bytes that only grow and are not cleared, aligned for vector loads.
class Buffer {
 public:
  std::byte* at_least(std::size_t size) {
    if (size > capacity_) {
      data_.reset(static_cast<std::byte*>(::operator new (size, std::align_val_t{64})));
      capacity_ = size;
    }
    return data_.get();
  }
  std::byte* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t capacity_ = 0;
};

enum class Step { none, dispatch, combine, combine_backward, dispatch_backward };

}  // namespace

/// The buffers and requests of one exchange between its begin and its end.
struct ExchangeFlight {
  struct Peer {
    Buffer out, in;
    Request send, receive;
    std::size_t out_bytes = 0, in_bytes = 0;
  };
  std::vector<Peer> peers;
};

struct ExpertLayout::Private {
  /// What this rank sent to a peer: its tokens, ascending, and where each choice came from.
  struct Sent {
    std::vector<std::int32_t> tokens;   // per row
    std::vector<std::int32_t> choices;  // per choice: token * top_k + k
  };
  std::vector<Sent> sent;                  // [peer]
  std::vector<std::int32_t> row_begin;     // [peer + 1] rows that arrived from each peer
  std::vector<std::int32_t> choice_begin;  // [peer + 1] the same for choices
  std::vector<std::int32_t> choice_slot;   // [num_slots] the slot of each choice, as they arrived
  std::vector<std::int32_t> slot_cursor;
  Buffer rows, gradients;
  ExchangeFlight* flight = nullptr;  // while an exchange is between begin and end
  Step step = Step::none;
};

template <class Real>
struct ExpertExchange<Real>::Impl {
  using Private = ExpertLayout::Private;
  using Flight = ExchangeFlight;

  Communicator& group;
  int num_experts, top_k, hidden, max_tokens, num_local;
  ExchangeShape shape;
  std::vector<std::unique_ptr<Flight>> flights;
  std::vector<Flight*> idle;
  std::vector<std::int32_t> last_token;  // per expert, to find one that a token chose twice
  std::vector<std::size_t> cursor;       // per peer
  std::vector<Real> sum;                 // [hidden]

  Impl(Communicator& g, int experts, int k, int h, int tokens)
      : group(g), num_experts(experts), top_k(k), hidden(h), max_tokens(tokens) {
    WEFT_CHECK(experts > 0 && experts % g.size() == 0, "experts must divide evenly over the group");
    WEFT_CHECK(k > 0 && k <= experts && h > 0 && tokens >= 0, "shape of an expert exchange");
    num_local = experts / g.size();
    shape = {sizeof(Real), static_cast<std::uint32_t>(h), static_cast<std::uint32_t>(num_local),
             static_cast<std::uint32_t>(tokens), static_cast<std::uint32_t>(k)};
    last_token.resize(static_cast<std::size_t>(experts));
    cursor.resize(static_cast<std::size_t>(g.size()));
    sum.resize(static_cast<std::size_t>(h));
  }

  std::size_t row_bytes() const { return static_cast<std::size_t>(hidden) * sizeof(Real); }

  /// The layout's bookkeeping, with a flight for the exchange that begins.
  Private& begin(ExpertLayout& layout, Step step) {
    if (!layout.priv) layout.priv = std::make_shared<Private>();
    Private& p = *layout.priv;
    WEFT_CHECK(p.step == Step::none, "an exchange of this layout has not ended yet");
    WEFT_CHECK(step == Step::dispatch || !p.row_begin.empty(), "a dispatch comes first");
    if (idle.empty()) {
      flights.push_back(std::make_unique<Flight>());
      flights.back()->peers.resize(static_cast<std::size_t>(group.size()));
      idle.reserve(flights.size());
      idle.push_back(flights.back().get());
    }
    p.flight = idle.back();
    idle.pop_back();
    p.step = step;
    return p;
  }

  Private& ending(ExpertLayout& layout, Step step) {
    WEFT_CHECK(layout.priv && layout.priv->step == step, "an end without its begin");
    return *layout.priv;
  }

  void end(Private& p) {
    idle.push_back(p.flight);
    p.flight = nullptr;
    p.step = Step::none;
  }

  /// Sends what lies in each peer's `out` and receives up to in_bytes; our own part stays.
  void start(Flight& flight, Tag tag) {
    const int n = group.size(), own = group.rank();
    for (int step = 1; step < n; ++step) {
      const int from = (own + n - step) % n;
      auto& peer = flight.peers[static_cast<std::size_t>(from)];
      peer.receive =
          group.start_receive(from, tag, {peer.in.at_least(peer.in_bytes), peer.in_bytes});
    }
    for (int step = 1; step < n; ++step) {
      const int to = (own + step) % n;
      auto& peer = flight.peers[static_cast<std::size_t>(to)];
      peer.send = group.start_send(to, tag, {peer.out.data(), peer.out_bytes});
    }
  }

  /// Waits for all; afterwards `message(flight, r)` is what rank r sent. `exact`: in_bytes is the
  /// length and not only a bound.
  Expected<void> finish(Flight& flight, bool exact) {
    for (int r = 0; r < group.size(); ++r) {
      if (r == group.rank()) continue;
      auto& peer = flight.peers[static_cast<std::size_t>(r)];
      WEFT_TRY_ASSIGN(const std::size_t length, group.wait(peer.receive));
      if (exact && length != peer.in_bytes)
        return corrupt(r, "a message of " + std::to_string(length) + " bytes where " +
                              std::to_string(peer.in_bytes) + " follow from the dispatch");
      peer.in_bytes = length;
    }
    for (int r = 0; r < group.size(); ++r)
      if (r != group.rank()) WEFT_TRY(group.wait(flight.peers[static_cast<std::size_t>(r)].send));
    return {};
  }

  ConstBytes message(const Flight& flight, int r) const {
    const auto& peer = flight.peers[static_cast<std::size_t>(r)];
    return r == group.rank() ? ConstBytes{peer.out.data(), peer.out_bytes}
                             : ConstBytes{peer.in.data(), peer.in_bytes};
  }

  tl::unexpected<Error> corrupt(int from, const std::string& why) const {
    std::string text = "group '" + std::string(group.name()) + "': rank " +
                       std::to_string(group.rank()) + " got from rank " + std::to_string(from);
    if (!group.serving().empty()) text += ", for " + std::string(group.serving());
    return fail(Code::Corrupt, text + ": " + why);
  }

  Expected<void> route(Private& p, int num_tokens, const std::int32_t* experts);
  void pack(const Private& p, const Real* rows, const std::int32_t* experts, const Real* weights);
  Expected<void> unpack(ExpertLayout& layout);
  void fill_slots(ExpertLayout& layout, std::span<const DispatchView> views);
  void add_home(const Private& p, int num_tokens, Real* out);
  void pack_back(Private& p, const Real* rows, bool with_values, const Real* slot_values);

  std::vector<DispatchView> views;
};

/// Which tokens and choices go to which rank.
template <class Real>
Expected<void> ExpertExchange<Real>::Impl::route(Private& p, int num_tokens,
                                                 const std::int32_t* experts) {
  if (num_tokens < 0 || num_tokens > max_tokens)
    return fail(Code::InvalidArgument, "a micro-batch of " + std::to_string(num_tokens) +
                                           " tokens in an expert exchange made for " +
                                           std::to_string(max_tokens));
  p.sent.resize(static_cast<std::size_t>(group.size()));
  for (auto& sent : p.sent) {
    sent.tokens.clear();
    sent.choices.clear();
  }
  std::fill(last_token.begin(), last_token.end(), -1);
  for (std::int32_t token = 0; token < num_tokens; ++token) {
    for (int k = 0; k < top_k; ++k) {
      const std::int32_t choice = token * top_k + k;
      const std::int32_t expert = experts[choice];
      if (expert < 0 || expert >= num_experts ||
          last_token[static_cast<std::size_t>(expert)] == token)
        return fail(Code::InvalidArgument,
                    "token " + std::to_string(token) + " chose expert " + std::to_string(expert) +
                        " of " + std::to_string(num_experts) +
                        (expert >= 0 && expert < num_experts ? " twice" : ""));
      last_token[static_cast<std::size_t>(expert)] = token;
      auto& sent = p.sent[static_cast<std::size_t>(expert / num_local)];
      if (sent.tokens.empty() || sent.tokens.back() != token) sent.tokens.push_back(token);
      sent.choices.push_back(choice);
    }
  }
  return {};
}

template <class Real>
void ExpertExchange<Real>::Impl::pack(const Private& p, const Real* rows,
                                      const std::int32_t* experts, const Real* weights) {
  for (std::size_t r = 0; r < p.sent.size(); ++r) {
    const auto& sent = p.sent[r];
    auto& peer = p.flight->peers[r];
    const std::size_t num_rows = sent.tokens.size(), num_choices = sent.choices.size();
    const ExchangeShape::Places at = shape.places(num_rows, num_choices);
    std::byte* const out = peer.out.at_least(at.end);
    peer.out_bytes = at.end;
    peer.in_bytes = shape.message_bytes_max();
    const DispatchHeader header{kDispatchMagic,
                                shape.real_bytes,
                                shape.hidden,
                                shape.num_local_experts,
                                static_cast<std::uint32_t>(num_rows),
                                static_cast<std::uint32_t>(num_choices),
                                0};
    std::memcpy(out, &header, sizeof header);
    auto* const counts = reinterpret_cast<std::int32_t*>(out + at.counts);
    auto* const local = reinterpret_cast<std::int32_t*>(out + at.experts);
    auto* const gate = reinterpret_cast<Real*>(out + at.weights);
    for (std::size_t row = 0; row < num_rows; ++row)
      std::memcpy(
          out + at.rows + row * row_bytes(),
          rows + static_cast<std::size_t>(sent.tokens[row]) * static_cast<std::size_t>(hidden),
          row_bytes());
    std::fill_n(counts, num_rows, 0);
    std::size_t row = 0;
    for (std::size_t i = 0; i < num_choices; ++i) {
      const std::int32_t choice = sent.choices[i];
      while (sent.tokens[row] != choice / top_k) ++row;
      ++counts[row];
      local[i] = experts[choice] % num_local;
      gate[i] = weights[choice];
    }
    std::memset(out + at.experts + num_choices * sizeof(std::int32_t), 0,
                at.weights - at.experts - num_choices * sizeof(std::int32_t));
  }
}

template <class Real>
Expected<void> ExpertExchange<Real>::Impl::unpack(ExpertLayout& layout) {
  Private& p = *layout.priv;
  const auto n = static_cast<std::size_t>(group.size());
  views.resize(n);
  p.row_begin.assign(n + 1, 0);
  p.choice_begin.assign(n + 1, 0);
  for (std::size_t r = 0; r < n; ++r) {
    auto view = read_dispatch(shape, message(*p.flight, static_cast<int>(r)));
    if (!view) return corrupt(static_cast<int>(r), view.error().message);
    views[r] = *view;
    p.row_begin[r + 1] = p.row_begin[r] + static_cast<std::int32_t>(view->num_rows);
    p.choice_begin[r + 1] = p.choice_begin[r] + static_cast<std::int32_t>(view->num_choices);
  }
  layout.num_rows = p.row_begin[n];
  layout.num_slots = p.choice_begin[n];
  std::byte* to = p.rows.at_least(static_cast<std::size_t>(layout.num_rows) * row_bytes());
  for (const DispatchView& view : views) {
    if (view.num_rows == 0) continue;
    std::memcpy(to, view.rows, view.num_rows * row_bytes());
    to += view.num_rows * row_bytes();
  }
  fill_slots(layout, views);
  return {};
}

/// A counting sort of the choices by expert; rows stay in order within one.
template <class Real>
void ExpertExchange<Real>::Impl::fill_slots(ExpertLayout& layout,
                                            std::span<const DispatchView> messages) {
  Private& p = *layout.priv;
  const auto num_slots = static_cast<std::size_t>(layout.num_slots);
  layout.expert_begin.assign(static_cast<std::size_t>(num_local) + 1, 0);
  for (const DispatchView& view : messages)
    for (std::uint32_t i = 0; i < view.num_choices; ++i)
      ++layout.expert_begin[static_cast<std::size_t>(view.experts[i]) + 1];
  for (int e = 0; e < num_local; ++e)
    layout.expert_begin[static_cast<std::size_t>(e) + 1] +=
        layout.expert_begin[static_cast<std::size_t>(e)];
  p.slot_cursor.assign(layout.expert_begin.begin(), layout.expert_begin.end() - 1);
  layout.slot_row.resize(num_slots);
  layout.slot_weight.resize(num_slots);
  if constexpr (sizeof(Real) == 8) layout.slot_weight_double.resize(num_slots);
  p.choice_slot.resize(num_slots);
  std::size_t arrived = 0;
  std::int32_t row = 0;
  for (const DispatchView& view : messages) {
    const auto* const gate = reinterpret_cast<const Real*>(view.weights);
    std::uint32_t choice = 0;
    for (std::uint32_t r = 0; r < view.num_rows; ++r, ++row) {
      for (std::int32_t i = 0; i < view.counts[r]; ++i, ++choice, ++arrived) {
        const std::int32_t slot = p.slot_cursor[static_cast<std::size_t>(view.experts[choice])]++;
        layout.slot_row[static_cast<std::size_t>(slot)] = row;
        layout.slot_weight[static_cast<std::size_t>(slot)] = static_cast<float>(gate[choice]);
        if constexpr (sizeof(Real) == 8)
          layout.slot_weight_double[static_cast<std::size_t>(slot)] = gate[choice];
        p.choice_slot[arrived] = slot;
      }
    }
  }
}

/// Fills each peer's message back to where its rows came from: rows, then perhaps one value per
/// choice, in the order in which they arrived.
template <class Real>
void ExpertExchange<Real>::Impl::pack_back(Private& p, const Real* rows, bool with_values,
                                           const Real* slot_values) {
  for (std::size_t r = 0; r < p.sent.size(); ++r) {
    auto& peer = p.flight->peers[r];
    const auto begin = static_cast<std::size_t>(p.row_begin[r]);
    const auto count = static_cast<std::size_t>(p.row_begin[r + 1]) - begin;
    const auto first = static_cast<std::size_t>(p.choice_begin[r]);
    const auto last = static_cast<std::size_t>(p.choice_begin[r + 1]);
    const std::size_t num_values = with_values ? last - first : 0;
    peer.out_bytes = count * row_bytes() + num_values * sizeof(Real);
    std::byte* const out = peer.out.at_least(peer.out_bytes);
    if (count > 0)
      std::memcpy(out, rows + begin * static_cast<std::size_t>(hidden), count * row_bytes());
    auto* const values = reinterpret_cast<Real*>(out + count * row_bytes());
    for (std::size_t i = 0; i < num_values; ++i) values[i] = slot_values[p.choice_slot[first + i]];
    const auto& sent = p.sent[r];
    peer.in_bytes =
        sent.tokens.size() * row_bytes() + (with_values ? sent.choices.size() * sizeof(Real) : 0);
  }
}

/// out[token] += (part of the lowest rank + part of the next + ...).
template <class Real>
void ExpertExchange<Real>::Impl::add_home(const Private& p, int num_tokens, Real* out) {
  const auto width = static_cast<std::size_t>(hidden);
  std::fill(cursor.begin(), cursor.end(), 0);
  for (std::int32_t token = 0; token < num_tokens; ++token) {
    const Real* total = nullptr;
    for (std::size_t r = 0; r < p.sent.size(); ++r) {
      const auto& tokens = p.sent[r].tokens;
      if (cursor[r] == tokens.size() || tokens[cursor[r]] != token) continue;
      const Real* const part =
          reinterpret_cast<const Real*>(message(*p.flight, static_cast<int>(r)).data()) +
          cursor[r]++ * width;
      if (total == nullptr) {
        total = part;
        continue;
      }
      for (std::size_t i = 0; i < width; ++i) sum[i] = total[i] + part[i];
      total = sum.data();
    }
    if (total == nullptr) continue;
    Real* const row = out + static_cast<std::size_t>(token) * width;
    for (std::size_t i = 0; i < width; ++i) row[i] += total[i];
  }
}

template <class Real>
ExpertExchange<Real>::ExpertExchange(Communicator& group, int num_experts, int top_k, int hidden,
                                     int max_tokens)
    : impl_(std::make_unique<Impl>(group, num_experts, top_k, hidden, max_tokens)) {}

template <class Real>
ExpertExchange<Real>::~ExpertExchange() = default;

template <class Real>
int ExpertExchange<Real>::num_local_experts() const {
  return impl_->num_local;
}

template <class Real>
int ExpertExchange<Real>::first_local_expert() const {
  return impl_->num_local * impl_->group.rank();
}

template <class Real>
Expected<void> ExpertExchange<Real>::begin_dispatch(ExpertLayout& layout, Tag tag, int num_tokens,
                                                    const Real* rows, const std::int32_t* experts,
                                                    const Real* weights) {
  auto& p = impl_->begin(layout, Step::dispatch);
  if (auto routed = impl_->route(p, num_tokens, experts); !routed) {
    impl_->end(p);
    return routed;
  }
  layout.num_tokens = num_tokens;
  impl_->pack(p, rows, experts, weights);
  impl_->start(*p.flight, tag);
  return {};
}

// After an error in an end_* the group is of no use any more; the flight is not reused, because
// its requests may be unfinished.

template <class Real>
Expected<const Real*> ExpertExchange<Real>::end_dispatch(ExpertLayout& layout) {
  auto& p = impl_->ending(layout, Step::dispatch);
  WEFT_TRY(impl_->finish(*p.flight, false));
  WEFT_TRY(impl_->unpack(layout));
  impl_->end(p);
  return reinterpret_cast<const Real*>(p.rows.data());
}

template <class Real>
Expected<void> ExpertExchange<Real>::begin_combine(ExpertLayout& layout, Tag tag,
                                                   const Real* rows) {
  auto& p = impl_->begin(layout, Step::combine);
  impl_->pack_back(p, rows, false, nullptr);
  impl_->start(*p.flight, tag);
  return {};
}

template <class Real>
Expected<void> ExpertExchange<Real>::end_combine(ExpertLayout& layout, Real* out) {
  auto& p = impl_->ending(layout, Step::combine);
  WEFT_TRY(impl_->finish(*p.flight, true));
  impl_->add_home(p, layout.num_tokens, out);
  impl_->end(p);
  return {};
}

template <class Real>
Expected<void> ExpertExchange<Real>::begin_combine_backward(ExpertLayout& layout, Tag tag,
                                                            const Real* gradients) {
  Impl& x = *impl_;
  auto& p = x.begin(layout, Step::combine_backward);
  for (std::size_t r = 0; r < p.sent.size(); ++r) {
    const auto& tokens = p.sent[r].tokens;
    auto& peer = p.flight->peers[r];
    peer.out_bytes = tokens.size() * x.row_bytes();
    peer.in_bytes = static_cast<std::size_t>(p.row_begin[r + 1] - p.row_begin[r]) * x.row_bytes();
    std::byte* const out = peer.out.at_least(peer.out_bytes);
    for (std::size_t row = 0; row < tokens.size(); ++row)
      std::memcpy(
          out + row * x.row_bytes(),
          gradients + static_cast<std::size_t>(tokens[row]) * static_cast<std::size_t>(x.hidden),
          x.row_bytes());
  }
  x.start(*p.flight, tag);
  return {};
}

template <class Real>
Expected<const Real*> ExpertExchange<Real>::end_combine_backward(ExpertLayout& layout) {
  Impl& x = *impl_;
  auto& p = x.ending(layout, Step::combine_backward);
  WEFT_TRY(x.finish(*p.flight, true));
  std::byte* to = p.gradients.at_least(static_cast<std::size_t>(layout.num_rows) * x.row_bytes());
  for (int r = 0; r < x.group.size(); ++r) {
    const ConstBytes part = x.message(*p.flight, r);
    if (!part.empty()) std::memcpy(to, part.data(), part.size());
    to += part.size();
  }
  x.end(p);
  return reinterpret_cast<const Real*>(p.gradients.data());
}

template <class Real>
Expected<void> ExpertExchange<Real>::begin_dispatch_backward(ExpertLayout& layout, Tag tag,
                                                             const Real* rows,
                                                             const Real* slot_weight_gradients) {
  auto& p = impl_->begin(layout, Step::dispatch_backward);
  impl_->pack_back(p, rows, true, slot_weight_gradients);
  impl_->start(*p.flight, tag);
  return {};
}

template <class Real>
Expected<void> ExpertExchange<Real>::end_dispatch_backward(ExpertLayout& layout, Real* d_rows,
                                                           Real* d_weights) {
  Impl& x = *impl_;
  auto& p = x.ending(layout, Step::dispatch_backward);
  WEFT_TRY(x.finish(*p.flight, true));
  x.add_home(p, layout.num_tokens, d_rows);
  for (std::size_t r = 0; r < p.sent.size(); ++r) {
    const auto& sent = p.sent[r];
    const auto* const values = reinterpret_cast<const Real*>(
        x.message(*p.flight, static_cast<int>(r)).data() + sent.tokens.size() * x.row_bytes());
    for (std::size_t i = 0; i < sent.choices.size(); ++i) d_weights[sent.choices[i]] = values[i];
  }
  x.end(p);
  return {};
}

template class ExpertExchange<float>;
template class ExpertExchange<double>;

}  // namespace weft::comm
