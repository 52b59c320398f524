#include "runtime/control/curve.h"

#include <array>
#include <cerrno>
#include <cstdint>
#include <vector>

namespace weft::runtime {
namespace {

std::string raw_key(const std::string& z85) {
  std::string raw(32, '\0');
  zmq_z85_decode(reinterpret_cast<std::uint8_t*>(raw.data()), z85.c_str());
  return raw;
}

}  // namespace

CurveKeys make_curve_keys() {
  std::array<char, kCurveKeyLength + 1> open{}, secret{};
  zmq_curve_keypair(open.data(), secret.data());
  return {open.data(), secret.data()};
}

bool is_curve_key(const std::string& text) {
  std::array<std::uint8_t, 32> raw{};
  return text.size() == kCurveKeyLength && zmq_z85_decode(raw.data(), text.c_str()) != nullptr;
}

Expected<void> CurveListener::open(const CurveOptions& options) {
  for (const auto& [key, name] : options.allowed) allowed_[raw_key(key)] = name;
  const std::string address = "tcp://" + options.host + ":" +
                              (options.port == 0 ? std::string("*") : std::to_string(options.port));
  try {
    // Every connection is first asked of this socket (ZeroMQ's authentication protocol, RFC 27).
    authenticator_.set(zmq::sockopt::linger, 0);
    authenticator_.bind("inproc://zeromq.zap.01");
    router_.set(zmq::sockopt::linger, 1000);
    router_.set(zmq::sockopt::curve_server, true);
    router_.set(zmq::sockopt::curve_secretkey, options.secret);
    router_.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(options.max_bytes));
    router_.set(zmq::sockopt::sndhwm, kCurveQueueLength);
    router_.set(zmq::sockopt::rcvhwm, kCurveQueueLength);
    // Who connects again is the one to talk to, whatever became of the old connection.
    router_.set(zmq::sockopt::router_handover, true);
    router_.bind(address);
    endpoint_ = router_.get(zmq::sockopt::last_endpoint);
  } catch (const zmq::error_t& error) {
    if (error.num() == EADDRINUSE)
      return fail(Code::Busy, "control port " + std::to_string(options.port) + " on " +
                                  options.host +
                                  " is in use by another process; choose another with "
                                  "--set control.port=N, or 0 for any free one");
    return fail(Code::InvalidArgument, "cannot listen on " + address + ": " + error.what() +
                                           "; check control.host and control.port");
  }
  return {};
}

void CurveListener::answer_handshake() {
  // version, request id, domain, address, identity, mechanism, then the credentials
  std::vector<std::string> frames;
  for (bool more = true; more;) {
    zmq::message_t frame;
    if (!authenticator_.recv(frame, zmq::recv_flags::dontwait)) return;
    more = frame.more();
    frames.push_back(frame.to_string());
  }
  const auto found =
      frames.size() >= 7 && frames[5] == "CURVE" ? allowed_.find(frames[6]) : allowed_.end();
  const bool known = found != allowed_.end();
  if (!known) ++refused_;
  const std::array<std::string, 6> answer = {"1.0",
                                             frames.size() > 1 ? frames[1] : std::string(),
                                             known ? "200" : "400",
                                             known ? "OK" : "unknown key",
                                             known ? found->second : std::string(),
                                             std::string()};
  for (std::size_t i = 0; i < answer.size(); ++i)
    authenticator_.send(zmq::buffer(answer[i]),
                        i + 1 < answer.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
}

void CurveListener::receive_all(const Take& take) {
  for (;;) {
    zmq::message_t peer, body;
    if (!router_.recv(peer, zmq::recv_flags::dontwait)) return;
    int parts = 0;
    for (bool more = peer.more(); more; ++parts) {
      zmq::message_t part;
      if (!router_.recv(part, zmq::recv_flags::dontwait)) break;
      more = part.more();
      if (parts == 0) body = std::move(part);
    }
    if (parts != 1 || !take(peer.to_string(), body.gets("User-Id"), body.to_string_view()))
      ++refused_;
  }
}

Expected<void> CurveListener::poll(std::chrono::milliseconds timeout,
                                   std::span<const int> descriptors, const Take& take) {
  std::vector<zmq::pollitem_t> items = {{authenticator_.handle(), 0, ZMQ_POLLIN, 0},
                                        {router_.handle(), 0, ZMQ_POLLIN, 0}};
  for (const int descriptor : descriptors) items.push_back({nullptr, descriptor, ZMQ_POLLIN, 0});
  try {
    zmq::poll(items.data(), items.size(), timeout);
    if (items[0].revents & ZMQ_POLLIN) answer_handshake();
    if (items[1].revents & ZMQ_POLLIN) receive_all(take);
  } catch (const zmq::error_t& error) {
    if (error.num() != EINTR)
      return fail(Code::Internal, std::string("control plane: ") + error.what());
  }
  return {};
}

void CurveListener::send(const std::string& peer, std::string_view bytes) {
  try {
    router_.send(zmq::buffer(peer), zmq::send_flags::sndmore | zmq::send_flags::dontwait);
    router_.send(zmq::buffer(bytes), zmq::send_flags::dontwait);
  } catch (const zmq::error_t&) {
    // The peer is gone; its silence, or its process's end, is what tells.
  }
}

}  // namespace weft::runtime
