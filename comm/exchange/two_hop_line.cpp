#include "comm/exchange/two_hop_line.h"

namespace weft::comm {

TwoHopLine& TwoHopLine::of(Communicator& group) {
  if (!group.two_hop_line_) group.two_hop_line_ = std::make_shared<TwoHopLine>();
  return *group.two_hop_line_;
}

void TwoHopLine::join(TwoHopFlight& flight) {
  flight.num_started = 0;
  flight.error.reset();
  flights_.push_back(&flight);
  advance();
}

void TwoHopLine::leave(const TwoHopFlight& flight) {
  std::erase_if(flights_, [&](const TwoHopFlight* other) { return other == &flight; });
}

void TwoHopLine::advance() {
  bool rail_free = true, node_free = true;  // all older ones have started there
  for (TwoHopFlight* const flight : flights_) {
    if (!advance_one(*flight, rail_free, node_free, Waiting::no)) break;
    rail_free = rail_free && flight->has_started(true);
    node_free = node_free && flight->has_started(false);
    if (!rail_free && !node_free) break;
  }
  drop_started();
}

Expected<void> TwoHopLine::advance_to(const TwoHopFlight& flight) {
  advance();  // what can go need not wait for what cannot
  while (flight.num_started < 2) {
    TwoHopFlight& oldest = *flights_.front();
    if (!advance_one(oldest, true, true, Waiting::yes)) return tl::unexpected<Error>(*oldest.error);
    drop_started();
    advance();
  }
  return {};
}

/// False: the flight has failed, and with it the group.
bool TwoHopLine::advance_one(TwoHopFlight& flight, bool rail_free, bool node_free,
                             Waiting waiting) {
  if (flight.error) return false;
  const bool first_free = flight.rail_first ? rail_free : node_free;
  const bool second_free = flight.rail_first ? node_free : rail_free;
  if (flight.num_started == 0 && first_free) {
    flight.first().start(flight.tag);
    flight.num_started = 1;
  }
  if (flight.num_started != 1 || !second_free) return true;
  if (waiting == Waiting::no && !flight.first().arrived()) return true;
  if (auto relayed = flight.relay(); !relayed) {
    flight.error = std::move(relayed).error();
    return false;
  }
  flight.second().start(flight.tag);
  flight.num_started = 2;
  return true;
}

void TwoHopLine::drop_started() {
  std::erase_if(flights_, [](const TwoHopFlight* flight) { return flight->num_started == 2; });
}

}  // namespace weft::comm
