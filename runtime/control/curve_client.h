// The connecting side of what curve.h listens for; what control.h and channel.h share, not for
// others to include.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <zmq.hpp>

#include "runtime/control/curve.h"

namespace weft::runtime {

struct CurveClientOptions {
  std::string endpoint, identity;
  std::string server_key;  // Z85
  CurveKeys keys;
  std::size_t max_bytes = 0;  // of a message
  std::chrono::milliseconds linger{0};
  std::chrono::milliseconds reconnect_first{100}, reconnect_most{0};  // most 0: always first
};

/// One connection, made again by the library when it breaks, and by us when the library gives it
/// up: that ends a connection over which came what cannot be (a byte had changed, in the handshake
/// or later) and makes no other. Most often there is then nowhere to queue a message; now and then
/// it goes on taking messages that go nowhere, so whoever is not connected for seconds is connected
/// anew. What was queued meanwhile is lost: its owner asks again for what went unanswered.
/// Threads: one.
class CurveClient {
 public:
  CurveClient() = default;
  ~CurveClient();
  CurveClient(const CurveClient&) = delete;
  CurveClient& operator=(const CurveClient&) = delete;

  /// Throws zmq::error_t for keys or an endpoint that are none.
  void connect(const CurveClientOptions& options);
  /// Queues, never blocks.
  void send(std::string_view bytes);
  zmq::socket_t& socket() { return dealer_; }

 private:
  using Steady = std::chrono::steady_clock;
  void hear_of_connections();
  void connect_anew();

  zmq::context_t context_{1};
  zmq::socket_t dealer_{context_, zmq::socket_type::dealer};
  zmq::socket_t events_{context_, zmq::socket_type::pair};  // of the dealer's connections
  std::string endpoint_;
  bool connected_ = false;
  Steady::time_point since_;     // that it is not
  Steady::duration patience_{};  // until it is connected anew
};

}  // namespace weft::runtime
