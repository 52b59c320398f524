// A listening socket that lets in only who has a key of this run (ZeroMQ with CURVE); what
// control.h and channel.h share, not for others to include. Its clients' side: curve_client.h.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <zmq.hpp>

#include "base/expected.h"

namespace weft::runtime {

inline constexpr std::size_t kCurveKeyLength = 40;  // Z85 text of a 32-byte key
inline constexpr int kCurveQueueLength = 10'000;    // messages kept for a slow or absent other side

struct CurveKeys {
  std::string open, secret;  // Z85
};
CurveKeys make_curve_keys();
bool is_curve_key(const std::string& text);

struct CurveOptions {
  std::string host;
  int port = 0;  // 0: any free one
  std::string secret;
  std::map<std::string, std::string> allowed;  // public key -> the name that messages come under
  std::size_t max_bytes = 0;                   // of a message
};

/// Threads: one.
class CurveListener {
 public:
  /// Errors: Busy when the port is taken; InvalidArgument for a bad host.
  Expected<void> open(const CurveOptions& options);
  const std::string& endpoint() const { return endpoint_; }
  /// Connections without a key of this run, and messages that nobody takes.
  long long num_refused() const { return refused_; }

  /// `peer`: the identity that it gave itself and that answers go to; `name`: proved by its key.
  /// False: the message is refused.
  using Take =
      std::function<bool(const std::string& peer, std::string_view name, std::string_view body)>;
  /// Waits at most `timeout` for messages or until one of `descriptors` is readable.
  Expected<void> poll(std::chrono::milliseconds timeout, std::span<const int> descriptors,
                      const Take& take);
  /// Queues; never blocks. A peer that is not connected loses it.
  void send(const std::string& peer, std::string_view bytes);

 private:
  void answer_handshake();
  void receive_all(const Take& take);

  zmq::context_t context_{1};
  zmq::socket_t authenticator_{context_, zmq::socket_type::rep};
  zmq::socket_t router_{context_, zmq::socket_type::router};
  std::map<std::string, std::string> allowed_;  // raw public key -> name
  std::string endpoint_;
  long long refused_ = 0;
};

}  // namespace weft::runtime
