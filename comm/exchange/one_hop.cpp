#include "comm/exchange/one_hop.h"

#include <numeric>

#include "comm/exchange/two_hop_line.h"

namespace weft::comm {

template <class Real>
struct OneHop<Real>::Flight : ExchangeFlight {
  Flight(Communicator& group, std::vector<int> ranks) : messages(group, std::move(ranks)) {}
  MessageSet messages;
};

template <class Real>
OneHop<Real>::OneHop(Communicator& group, const ExchangeShape& shape, const NodeMap& nodes)
    : ExchangePath<Real>(nodes, group.rank()),
      shape_(shape),
      group_(group),
      sums_(static_cast<std::size_t>(group.size()), shape.hidden),
      parts_(static_cast<std::size_t>(group.size())),
      came_(parts_.size()),
      views_(parts_.size()),
      arrived_(parts_.size()) {
  const auto seats = static_cast<std::int32_t>(shape.num_local_experts);
  for (std::int32_t seat = 0; seat < seats * group.size(); ++seat) {
    rank_of_.push_back(seat / seats);
    local_of_.push_back(seat % seats);
  }
}

template <class Real>
OneHop<Real>::~OneHop() = default;

template <class Real>
MessageSet& OneHop<Real>::take_flight(Private& p) {
  p.flight = &flights_.take([&] {
    std::vector<int> ranks(parts_.size());
    std::iota(ranks.begin(), ranks.end(), 0);
    return std::make_unique<Flight>(group_, std::move(ranks));
  });
  return static_cast<Flight*>(p.flight)->messages;
}

/// Waits until everything has come and all that was sent is away.
template <class Real>
Expected<MessageSet*> OneHop<Real>::arrive(Private& p, bool exact) {
  MessageSet& messages = static_cast<Flight*>(p.flight)->messages;
  WEFT_TRY(messages.receive(exact));
  WEFT_TRY(messages.finish_sends());
  return &messages;
}

template <class Real>
void OneHop<Real>::release(Private& p) {
  flights_.give_back(*static_cast<Flight*>(p.flight));
  p.flight = nullptr;
}

template <class Real>
std::size_t OneHop<Real>::memory_bytes() const {
  std::size_t bytes = 0;
  for (const auto& flight : flights_.all()) bytes += flight->messages.memory_bytes();
  return bytes;
}

template <class Real>
void OneHop<Real>::start(Private& p, MessageSet& messages, Tag tag) {
  WEFT_CHECK(TwoHopLine::idle(group_), "one hop and two hops under way in one group");
  this->count(*p.step, messages);
  messages.start(tag);
}

template <class Real>
void OneHop<Real>::begin_dispatch(Private& p, Tag tag, const Choices& choices,
                                  const std::byte* rows, const Real* weights) {
  MessageSet& messages = take_flight(p);
  route_choices(choices, rank_of_, messages.size(), p.routes);
  for (int r = 0; r < messages.size(); ++r) {
    const Route& route = p.routes[static_cast<std::size_t>(r)];
    std::byte* const out =
        messages.write(r, shape_.places(route.rows.size(), route.choices.size()).end);
    write_dispatch(shape_, route, rows, choices.experts, local_of_.data(), weights, out);
    messages.expect(r, shape_.message_bytes_max());
  }
  start(p, messages, tag);
}

template <class Real>
Expected<std::span<const DispatchView>> OneHop<Real>::end_dispatch(Private& p) {
  WEFT_TRY_ASSIGN(MessageSet* const messages, arrive(p, false));
  for (int r = 0; r < messages->size(); ++r) {
    auto view = read_dispatch(shape_, messages->from(r));
    if (!view) return corrupt_from(group_, r, view.error().message);
    views_[static_cast<std::size_t>(r)] = *view;
  }
  return views_;
}

template <class Real>
void OneHop<Real>::begin_forth(Private& p, Tag tag, const std::byte* rows) {
  MessageSet& messages = take_flight(p);
  for (int r = 0; r < messages.size(); ++r) {
    const Route& route = p.routes[static_cast<std::size_t>(r)];
    std::byte* const out = messages.write(r, route.rows.size() * shape_.forth_row_bytes());
    copy_rows(route, rows, shape_.forth_row_bytes(), out);
    messages.expect(r, p.num_rows_from(r) * shape_.forth_row_bytes());
  }
  start(p, messages, tag);
}

template <class Real>
Expected<std::span<const ConstBytes>> OneHop<Real>::end_forth(Private& p) {
  WEFT_TRY_ASSIGN(MessageSet* const messages, arrive(p, true));
  for (int r = 0; r < messages->size(); ++r)
    arrived_[static_cast<std::size_t>(r)] = messages->from(r);
  return arrived_;
}

template <class Real>
void OneHop<Real>::begin_back(Private& p, Tag tag, const Real* rows, bool with_values,
                              const Real* slot_values) {
  MessageSet& messages = take_flight(p);
  for (int r = 0; r < messages.size(); ++r) {
    const Route& route = p.routes[static_cast<std::size_t>(r)];
    std::byte* const out = messages.write(
        r, shape_.back_bytes(p.num_rows_from(r), with_values ? p.num_choices_from(r) : 0));
    write_back(p, r, shape_.hidden, rows, with_values ? slot_values : nullptr, out);
    messages.expect(r,
                    shape_.back_bytes(route.rows.size(), with_values ? route.choices.size() : 0));
  }
  start(p, messages, tag);
}

template <class Real>
Expected<void> OneHop<Real>::end_back(Private& p, int num_tokens, Real* out, Real* values) {
  WEFT_TRY_ASSIGN(MessageSet* const messages, arrive(p, true));
  for (std::size_t r = 0; r < came_.size(); ++r)
    came_[r] = read_back(p.routes[r], messages->from(static_cast<int>(r)), shape_.hidden, values);
  add_parts(came_, num_tokens, out);
  return {};
}

template <class Real>
void OneHop<Real>::add_parts(std::span<const Parts<Real>> of_rank, int num_tokens, Real* out) {
  for (std::size_t r = 0; r < of_rank.size(); ++r) {
    const int rank = static_cast<int>(r);
    parts_[static_cast<std::size_t>(nodes_.node_of(rank) * nodes_.ranks_per_node() +
                                    nodes_.index_of(rank))] = of_rank[r];
  }
  sums_.add(parts_, static_cast<std::size_t>(nodes_.ranks_per_node()), num_tokens, out);
}

template class OneHop<float>;
template class OneHop<double>;

}  // namespace weft::comm
