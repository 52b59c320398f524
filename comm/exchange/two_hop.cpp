#include "comm/exchange/two_hop.h"

namespace weft::comm {
namespace {

std::vector<int> rail_of(const NodeMap& nodes, int rank) {
  std::vector<int> ranks;
  for (int node = 0; node < nodes.num_nodes(); ++node)
    ranks.push_back(nodes.rank_at(node, nodes.index_of(rank)));
  return ranks;
}

std::vector<int> node_of(const NodeMap& nodes, int rank) {
  std::vector<int> ranks;
  for (int index = 0; index < nodes.ranks_per_node(); ++index)
    ranks.push_back(nodes.rank_at(nodes.node_of(rank), index));
  return ranks;
}

ExchangeShape shape_of_node(ExchangeShape shape, int ranks_per_node) {
  shape.num_local_experts *= static_cast<std::uint32_t>(ranks_per_node);
  return shape;
}

}  // namespace

template <class Real>
struct TwoHop<Real>::Flight : TwoHopFlight {
  explicit Flight(TwoHop& path)
      : TwoHopFlight(path.group_, rail_of(path.nodes_, path.group_.rank()),
                     node_of(path.nodes_, path.group_.rank())),
        owner(path) {}
  ~Flight() override { owner.line_.leave(*this); }

  Expected<void> relay() override {
    WEFT_TRY(first().receive(p->step != ExchangeStep::dispatch));
    if (p->step == ExchangeStep::dispatch)
      WEFT_TRY(owner.relay_dispatch(*this));
    else
      rail_first ? owner.relay_forth(*this) : owner.relay_back(*this);
    owner.count(*p->step, second());
    return {};
  }

  TwoHop& owner;
  Private* p = nullptr;
};

template <class Real>
TwoHop<Real>::TwoHop(Communicator& group, const ExchangeShape& shape, const NodeMap& nodes)
    : ExchangePath<Real>(nodes, group.rank()),
      group_(group),
      line_(TwoHopLine::of(group)),
      shape_(shape),
      node_shape_(shape_of_node(shape, nodes.ranks_per_node())),
      node_sums_(static_cast<std::size_t>(nodes.ranks_per_node()), shape.hidden),
      home_sums_(static_cast<std::size_t>(nodes.num_nodes()), shape.hidden),
      node_parts_(static_cast<std::size_t>(nodes.ranks_per_node())),
      home_parts_(static_cast<std::size_t>(nodes.num_nodes())),
      relay_views_(static_cast<std::size_t>(nodes.num_nodes())),
      views_(static_cast<std::size_t>(group.size())),
      arrived_(static_cast<std::size_t>(group.size())) {
  const auto seats = static_cast<std::int32_t>(shape.num_local_experts);
  for (std::int32_t seat = 0; seat < seats * group.size(); ++seat) {
    node_of_.push_back(nodes.node_of(seat / seats));
    node_local_of_.push_back(nodes.index_of(seat / seats) * seats + seat % seats);
  }
  for (std::int32_t seat = 0; seat < seats * nodes.ranks_per_node(); ++seat) {
    member_of_.push_back(seat / seats);
    member_local_of_.push_back(seat % seats);
  }
}

template <class Real>
TwoHop<Real>::~TwoHop() = default;

template <class Real>
typename TwoHop<Real>::Flight& TwoHop<Real>::take_flight(Private& p, Tag tag, bool rail_first) {
  Flight& flight = flights_.take([&] { return std::make_unique<Flight>(*this); });
  flight.p = &p;
  flight.tag = tag;
  flight.rail_first = rail_first;
  p.flight = &flight;
  return flight;
}

template <class Real>
std::size_t TwoHop<Real>::memory_bytes() const {
  std::size_t bytes = 0;
  for (const auto& flight : flights_.all())
    bytes += flight->rail.memory_bytes() + flight->node.memory_bytes();
  return bytes;
}

template <class Real>
void TwoHop<Real>::release(Private& p) {
  flights_.give_back(*static_cast<Flight*>(p.flight));
  p.flight = nullptr;
}

/// Waits until the second hop has brought everything and all that was sent is away.
template <class Real>
Expected<typename TwoHop<Real>::Flight*> TwoHop<Real>::arrive(Private& p, bool exact) {
  Flight& flight = *static_cast<Flight*>(p.flight);
  WEFT_TRY(line_.advance_to(flight));
  WEFT_TRY(flight.second().receive(exact));
  WEFT_TRY(flight.first().finish_sends());
  WEFT_TRY(flight.second().finish_sends());
  line_.advance();
  return &flight;
}

// Dispatch.

template <class Real>
void TwoHop<Real>::begin_dispatch(Private& p, Tag tag, const Choices& choices,
                                  const std::byte* rows, const Real* weights) {
  Flight& flight = take_flight(p, tag, true);
  route_choices(choices, node_of_, nodes_.num_nodes(), p.routes);
  for (int m = 0; m < nodes_.num_nodes(); ++m) {
    const Route& route = p.routes[static_cast<std::size_t>(m)];
    std::byte* const out =
        flight.rail.write(m, node_shape_.places(route.rows.size(), route.choices.size()).end);
    write_dispatch(node_shape_, route, rows, choices.experts, node_local_of_.data(), weights, out);
    flight.rail.expect(m, node_shape_.message_bytes_max());
  }
  this->count(*p.step, flight.rail);
  line_.join(flight);
}

template <class Real>
Expected<void> TwoHop<Real>::relay_dispatch(Flight& flight) {
  Private& p = *flight.p;
  p.relayed.resize(relay_views_.size());
  for (std::size_t m = 0; m < relay_views_.size(); ++m) {
    auto view = read_dispatch(node_shape_, flight.rail.from(static_cast<int>(m)));
    if (!view)
      return corrupt_from(group_, flight.rail.rank(static_cast<int>(m)), view.error().message);
    relay_views_[m] = *view;
    route_relayed(*view, member_of_, nodes_.ranks_per_node(), p.relayed[m]);
  }
  for (int g = 0; g < nodes_.ranks_per_node(); ++g) {
    std::byte* const out = flight.node.write(g, sections_bytes(shape_, p.relayed, g));
    write_sections<Real>(shape_, p.relayed, relay_views_, g, member_local_of_.data(), out);
    flight.node.expect(g, sections_bytes_max(shape_, relay_views_.size()));
  }
  return {};
}

template <class Real>
Expected<std::span<const DispatchView>> TwoHop<Real>::end_dispatch(Private& p) {
  WEFT_TRY_ASSIGN(Flight* const flight, arrive(p, false));
  for (int g = 0; g < nodes_.ranks_per_node(); ++g) WEFT_TRY(read_sections(*flight, g));
  return views_;
}

/// What rank `member` of the node handed on: a dispatch message of each rank of its rail.
template <class Real>
Expected<void> TwoHop<Real>::read_sections(const Flight& flight, int member) {
  const int relay = flight.node.rank(member);
  auto sections = Sections::open(flight.node.from(member), relay_views_.size());
  if (!sections) return corrupt_from(group_, relay, sections.error().message);
  for (int m = 0; m < nodes_.num_nodes(); ++m) {
    const int source = nodes_.rank_at(m, member);
    auto view = read_dispatch(shape_, sections->next());
    if (!view)
      return corrupt_from(
          group_, relay,
          "what it relayed for rank " + std::to_string(source) + " is " + view.error().message);
    views_[static_cast<std::size_t>(source)] = *view;
  }
  return {};
}

// Forth again: the dispatch has left both sides knowing every size.

template <class Real>
void TwoHop<Real>::begin_forth(Private& p, Tag tag, const std::byte* rows) {
  Flight& flight = take_flight(p, tag, true);
  const std::size_t row_bytes = shape_.forth_row_bytes();
  for (int m = 0; m < nodes_.num_nodes(); ++m) {
    const Route& route = p.routes[static_cast<std::size_t>(m)];
    copy_rows(route, rows, row_bytes, flight.rail.write(m, route.rows.size() * row_bytes));
    flight.rail.expect(m, p.relayed[static_cast<std::size_t>(m)].num_rows * row_bytes);
  }
  this->count(*p.step, flight.rail);
  line_.join(flight);
}

template <class Real>
void TwoHop<Real>::relay_forth(Flight& flight) {
  const Private& p = *flight.p;
  const std::size_t row_bytes = shape_.forth_row_bytes();
  for (int g = 0; g < nodes_.ranks_per_node(); ++g) {
    std::size_t num_out = 0, num_in = 0;
    for (int m = 0; m < nodes_.num_nodes(); ++m) {
      const Relayed& relayed = p.relayed[static_cast<std::size_t>(m)];
      num_out += relayed.to[static_cast<std::size_t>(g)].rows.size();
      num_in += p.num_rows_from(nodes_.rank_at(m, g));
    }
    std::byte* out = flight.node.write(g, num_out * row_bytes);
    for (int m = 0; m < nodes_.num_nodes(); ++m) {
      const Route& route = p.relayed[static_cast<std::size_t>(m)].to[static_cast<std::size_t>(g)];
      out = copy_rows(route, flight.rail.from(m).data(), row_bytes, out);
    }
    flight.node.expect(g, num_in * row_bytes);
  }
}

template <class Real>
Expected<std::span<const ConstBytes>> TwoHop<Real>::end_forth(Private& p) {
  WEFT_TRY_ASSIGN(Flight* const flight, arrive(p, true));
  for (int g = 0; g < nodes_.ranks_per_node(); ++g) {
    const std::byte* at = flight->node.from(g).data();
    for (int m = 0; m < nodes_.num_nodes(); ++m) {
      const int source = nodes_.rank_at(m, g);
      const std::size_t bytes = p.num_rows_from(source) * shape_.forth_row_bytes();
      arrived_[static_cast<std::size_t>(source)] = {at, bytes};
      at += bytes;
    }
  }
  return arrived_;
}

// Back. A section: the rows of one source rank, then perhaps a value per choice.

template <class Real>
std::size_t TwoHop<Real>::section_bytes(const Route& route, bool with_values) const {
  return shape_.back_bytes(route.rows.size(), with_values ? route.choices.size() : 0);
}

template <class Real>
void TwoHop<Real>::begin_back(Private& p, Tag tag, const Real* rows, bool with_values,
                              const Real* slot_values) {
  Flight& flight = take_flight(p, tag, false);
  for (int g = 0; g < nodes_.ranks_per_node(); ++g) {
    std::size_t bytes_out = 0, bytes_in = 0;
    for (int m = 0; m < nodes_.num_nodes(); ++m) {
      const int source = nodes_.rank_at(m, g);
      bytes_out +=
          shape_.back_bytes(p.num_rows_from(source), with_values ? p.num_choices_from(source) : 0);
      bytes_in += section_bytes(
          p.relayed[static_cast<std::size_t>(m)].to[static_cast<std::size_t>(g)], with_values);
    }
    std::byte* out = flight.node.write(g, bytes_out);
    for (int m = 0; m < nodes_.num_nodes(); ++m)
      out = write_back(p, nodes_.rank_at(m, g), shape_.hidden, rows,
                       with_values ? slot_values : nullptr, out);
    flight.node.expect(g, bytes_in);
  }
  this->count(*p.step, flight.node);
  line_.join(flight);
}

/// Adds the parts of each row over the ranks of this node, for every rank of the rail.
template <class Real>
void TwoHop<Real>::relay_back(Flight& flight) {
  const Private& p = *flight.p;
  const bool with_values = p.step == ExchangeStep::dispatch_backward;
  const std::size_t num_members = node_parts_.size();
  for (std::size_t g = 0; g < num_members; ++g)
    node_parts_[g].values =
        reinterpret_cast<const Real*>(flight.node.from(static_cast<int>(g)).data());
  for (int m = 0; m < nodes_.num_nodes(); ++m) {
    const Relayed& relayed = p.relayed[static_cast<std::size_t>(m)];
    const std::size_t num_values = with_values ? relayed.num_choices : 0;
    auto* const rows = reinterpret_cast<Real*>(
        flight.rail.write(m, shape_.back_bytes(relayed.num_rows, num_values)));
    for (std::size_t g = 0; g < num_members; ++g) node_parts_[g].rows = relayed.to[g].rows;
    node_sums_.set(node_parts_, num_members, static_cast<int>(relayed.num_rows), rows);
    Real* const values = rows + relayed.num_rows * shape_.hidden;
    for (std::size_t g = 0; g < num_members; ++g) {
      const Real* value = node_parts_[g].values + relayed.to[g].rows.size() * shape_.hidden;
      if (with_values)
        for (const std::int32_t choice : relayed.to[g].choices) values[choice] = *value++;
      node_parts_[g].values = value;  // the next section
    }
    flight.rail.expect(m, section_bytes(p.routes[static_cast<std::size_t>(m)], with_values));
  }
}

template <class Real>
Expected<void> TwoHop<Real>::end_back(Private& p, int num_tokens, Real* out, Real* values) {
  WEFT_TRY_ASSIGN(Flight* const flight, arrive(p, true));
  for (std::size_t m = 0; m < home_parts_.size(); ++m)
    home_parts_[m] =
        read_back(p.routes[m], flight->rail.from(static_cast<int>(m)), shape_.hidden, values);
  home_sums_.add(home_parts_, home_parts_.size(), num_tokens, out);
  return {};
}

template class TwoHop<float>;
template class TwoHop<double>;

}  // namespace weft::comm
