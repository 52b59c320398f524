#include "runtime/control/curve_client.h"

#include <zmq.h>

#include <algorithm>
#include <cstring>

namespace weft::runtime {
namespace {

constexpr const char* kEvents = "inproc://connections";
// A handshake takes milliseconds. Each time in vain the next one is given twice as long, so that a
// machine that is too busy for it comes to an end with it.
constexpr std::chrono::seconds kFirstPatience{5}, kMostPatience{60};

}  // namespace

CurveClient::~CurveClient() {
  // Before the other end of the pair goes: the library would wait for it.
  ::zmq_socket_monitor(dealer_.handle(), nullptr, 0);
}

void CurveClient::connect(const CurveClientOptions& options) {
  dealer_.set(zmq::sockopt::routing_id, options.identity);
  dealer_.set(zmq::sockopt::curve_serverkey, options.server_key);
  dealer_.set(zmq::sockopt::curve_publickey, options.keys.open);
  dealer_.set(zmq::sockopt::curve_secretkey, options.keys.secret);
  dealer_.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(options.max_bytes));
  dealer_.set(zmq::sockopt::sndhwm, kCurveQueueLength);
  dealer_.set(zmq::sockopt::linger, static_cast<int>(options.linger.count()));
  dealer_.set(zmq::sockopt::reconnect_ivl, static_cast<int>(options.reconnect_first.count()));
  dealer_.set(zmq::sockopt::reconnect_ivl_max, static_cast<int>(options.reconnect_most.count()));
  if (::zmq_socket_monitor(dealer_.handle(), kEvents,
                           ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) != 0)
    throw zmq::error_t();
  events_.connect(kEvents);
  dealer_.connect(options.endpoint);
  endpoint_ = options.endpoint;
  since_ = Steady::now();
  patience_ = kFirstPatience;
}

void CurveClient::send(std::string_view bytes) {
  try {
    hear_of_connections();
    if (!connected_ && Steady::now() - since_ > patience_) connect_anew();
    if (dealer_.send(zmq::buffer(bytes), zmq::send_flags::dontwait)) return;
    connect_anew();
    (void)dealer_.send(zmq::buffer(bytes), zmq::send_flags::dontwait);
  } catch (const zmq::error_t&) {  // interrupted: lost, as anything may be
  }
}

void CurveClient::hear_of_connections() {
  zmq::message_t event, address;
  while (events_.recv(event, zmq::recv_flags::dontwait)) {
    while (event.more() && events_.recv(address) && address.more()) {
    }
    std::uint16_t what = 0;
    if (event.size() < sizeof what) continue;
    std::memcpy(&what, event.data(), sizeof what);
    connected_ = what == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
    since_ = Steady::now();
    if (connected_) patience_ = kFirstPatience;
  }
}

void CurveClient::connect_anew() {
  try {
    dealer_.disconnect(endpoint_);
  } catch (const zmq::error_t&) {  // there is none to end
  }
  dealer_.connect(endpoint_);
  since_ = Steady::now();
  patience_ = std::min<Steady::duration>(2 * patience_, kMostPatience);
}

}  // namespace weft::runtime
