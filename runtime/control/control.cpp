#include "runtime/control/control.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <zmq.hpp>

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr std::size_t kKeyLength = 40;  // Z85 text of a 32-byte key
constexpr int kQueueLength = 10'000;    // messages a side keeps for a slow or absent other

struct KeyPair {
  std::string public_key, secret_key;
};

KeyPair make_keys() {
  std::array<char, kKeyLength + 1> public_key{}, secret_key{};
  zmq_curve_keypair(public_key.data(), secret_key.data());
  return {public_key.data(), secret_key.data()};
}

std::string raw_key(const std::string& z85) {
  std::string raw(32, '\0');
  zmq_z85_decode(reinterpret_cast<std::uint8_t*>(raw.data()), z85.c_str());
  return raw;
}

/// 64 hexadecimal digits. `key`: a Z85 secret of this run.
std::string sign(const std::string& key, std::string_view text) {
  std::array<unsigned char, 32> digest{};
  unsigned int length = 0;
  ::HMAC(::EVP_sha256(), key.data(), static_cast<int>(key.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &length);
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const unsigned char byte : digest) hex += {kDigits[byte >> 4], kDigits[byte & 15]};
  return hex;
}

/// What a model wrote may not be UTF-8; such bytes travel as U+FFFD.
std::string text_of(const json& message) {
  return message.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// A JSON object with a string "type", or null.
std::unique_ptr<json> parse_message(std::string_view text) {
  auto message = std::make_unique<json>(json::parse(text, nullptr, false));
  const bool good =
      message->is_object() && message->contains("type") && message->at("type").is_string();
  return good ? std::move(message) : nullptr;
}

}  // namespace

struct ControlServer::Impl {
  zmq::context_t context{1};
  zmq::socket_t authenticator{context, zmq::socket_type::rep};
  zmq::socket_t router{context, zmq::socket_type::router};
  KeyPair keys = make_keys();
  std::string seal_key = make_keys().secret_key;  // of jobs; each worker has it too
  std::map<int, KeyPair> workers;                 // by rank
  std::map<std::string, int> rank_of_key;         // raw public key -> rank
  std::string endpoint;
  long long refused = 0;

  void answer_handshake();
  void receive_all(std::vector<Incoming>& messages);
};

ControlServer::ControlServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ControlServer::~ControlServer() = default;

Expected<std::unique_ptr<ControlServer>> ControlServer::open(const std::string& host, int port,
                                                             const std::vector<int>& ranks) {
  auto impl = std::make_unique<Impl>();
  for (const int rank : ranks) {
    impl->workers[rank] = make_keys();
    impl->rank_of_key[raw_key(impl->workers[rank].public_key)] = rank;
  }
  const std::string address =
      "tcp://" + host + ":" + (port == 0 ? std::string("*") : std::to_string(port));
  try {
    // Every connection is first asked of this socket (ZeroMQ's authentication protocol, RFC 27).
    impl->authenticator.set(zmq::sockopt::linger, 0);
    impl->authenticator.bind("inproc://zeromq.zap.01");
    impl->router.set(zmq::sockopt::linger, 1000);
    impl->router.set(zmq::sockopt::curve_server, true);
    impl->router.set(zmq::sockopt::curve_secretkey, impl->keys.secret_key);
    impl->router.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(kMaxMessageBytes));
    impl->router.set(zmq::sockopt::sndhwm, kQueueLength);
    impl->router.set(zmq::sockopt::rcvhwm, kQueueLength);
    // A worker that connects again is the one to talk to, whatever became of its old connection.
    impl->router.set(zmq::sockopt::router_handover, true);
    impl->router.bind(address);
    impl->endpoint = impl->router.get(zmq::sockopt::last_endpoint);
  } catch (const zmq::error_t& error) {
    if (error.num() == EADDRINUSE)
      return fail(Code::Busy, "control port " + std::to_string(port) + " on " + host +
                                  " is in use by another process; choose another with "
                                  "--set control.port=N, or 0 for any free one");
    return fail(Code::InvalidArgument, "cannot listen on " + address + ": " + error.what() +
                                           "; check control.host and control.port");
  }
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(impl)));
}

std::string ControlServer::endpoint() const { return impl_->endpoint; }
long long ControlServer::num_refused() const { return impl_->refused; }

std::string ControlServer::credentials(int rank) const {
  const KeyPair& worker = impl_->workers.at(rank);
  return json{{"version", kControlVersion},      {"rank", rank},
              {"endpoint", impl_->endpoint},     {"server_key", impl_->keys.public_key},
              {"public_key", worker.public_key}, {"secret_key", worker.secret_key},
              {"seal_key", impl_->seal_key}}
      .dump();
}

std::string ControlServer::seal(std::string_view job) const { return sign(impl_->seal_key, job); }

void ControlServer::Impl::answer_handshake() {
  // version, request id, domain, address, identity, mechanism, then the credentials
  std::vector<std::string> frames;
  for (bool more = true; more;) {
    zmq::message_t frame;
    if (!authenticator.recv(frame, zmq::recv_flags::dontwait)) return;
    more = frame.more();
    frames.push_back(frame.to_string());
  }
  const auto worker =
      frames.size() >= 7 && frames[5] == "CURVE" ? rank_of_key.find(frames[6]) : rank_of_key.end();
  const bool known = worker != rank_of_key.end();
  if (!known) ++refused;
  const std::array<std::string, 6> answer = {"1.0",
                                             frames.size() > 1 ? frames[1] : std::string(),
                                             known ? "200" : "400",
                                             known ? "OK" : "unknown key",
                                             known ? std::to_string(worker->second) : std::string(),
                                             std::string()};
  for (std::size_t i = 0; i < answer.size(); ++i)
    authenticator.send(zmq::buffer(answer[i]),
                       i + 1 < answer.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
}

void ControlServer::Impl::receive_all(std::vector<Incoming>& messages) {
  for (;;) {
    zmq::message_t identity, body;
    if (!router.recv(identity, zmq::recv_flags::dontwait)) return;
    if (!identity.more() || !router.recv(body, zmq::recv_flags::dontwait)) return;
    bool extra = body.more();
    for (zmq::message_t rest; extra; extra = rest.more())
      if (!router.recv(rest, zmq::recv_flags::dontwait)) break;
    int rank = -1;
    const std::string_view user = body.gets("User-Id");
    std::from_chars(user.data(), user.data() + user.size(), rank);
    std::unique_ptr<json> message = parse_message(body.to_string_view());
    // A worker speaks for itself only: the identity that answers go to must be its own.
    if (!message || identity.to_string() != "rank-" + std::to_string(rank)) {
      ++refused;
      continue;
    }
    messages.push_back({rank, std::move(message)});
  }
}

Expected<std::vector<Incoming>> ControlServer::poll(std::chrono::milliseconds timeout,
                                                    std::span<const int> descriptors) {
  std::vector<Incoming> messages;
  std::vector<zmq::pollitem_t> items = {{impl_->authenticator.handle(), 0, ZMQ_POLLIN, 0},
                                        {impl_->router.handle(), 0, ZMQ_POLLIN, 0}};
  for (const int descriptor : descriptors) items.push_back({nullptr, descriptor, ZMQ_POLLIN, 0});
  try {
    zmq::poll(items.data(), items.size(), timeout);
    if (items[0].revents & ZMQ_POLLIN) impl_->answer_handshake();
    if (items[1].revents & ZMQ_POLLIN) impl_->receive_all(messages);
  } catch (const zmq::error_t& error) {
    if (error.num() != EINTR)
      return fail(Code::Internal, std::string("control plane: ") + error.what());
  }
  return messages;
}

void ControlServer::send(int rank, const json& message) { send_text(rank, text_of(message)); }

void ControlServer::send_text(int rank, const std::string& message) {
  try {
    impl_->router.send(zmq::buffer("rank-" + std::to_string(rank)),
                       zmq::send_flags::sndmore | zmq::send_flags::dontwait);
    impl_->router.send(zmq::buffer(message), zmq::send_flags::dontwait);
  } catch (const zmq::error_t&) {
    // The worker is gone; its exit is reported through its process.
  }
}

struct ControlClient::Impl {
  zmq::context_t context{1};
  zmq::socket_t dealer{context, zmq::socket_type::dealer};
  std::string seal_key;
  int rank = 0;
};

ControlClient::ControlClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ControlClient::~ControlClient() = default;

Expected<std::unique_ptr<ControlClient>> ControlClient::connect(std::string_view credentials) {
  const json given = json::parse(credentials, nullptr, false);
  const auto text = [&](const char* key) {
    return given.is_object() && given.contains(key) && given[key].is_string()
               ? given[key].get<std::string>()
               : std::string();
  };
  if (!given.is_object() || given.value("version", json()) != kControlVersion ||
      !given.value("rank", json()).is_number_integer() || text("server_key").size() != kKeyLength ||
      text("public_key").size() != kKeyLength || text("secret_key").size() != kKeyLength ||
      text("seal_key").size() != kKeyLength)
    return fail(Code::InvalidArgument,
                "the control-plane credentials are not those of this version of weft; workers are "
                "started by 'weft run'");
  auto impl = std::make_unique<Impl>();
  impl->rank = given["rank"].get<int>();
  impl->seal_key = text("seal_key");
  try {
    zmq::socket_t& dealer = impl->dealer;
    dealer.set(zmq::sockopt::routing_id, "rank-" + std::to_string(impl->rank));
    dealer.set(zmq::sockopt::curve_serverkey, text("server_key"));
    dealer.set(zmq::sockopt::curve_publickey, text("public_key"));
    dealer.set(zmq::sockopt::curve_secretkey, text("secret_key"));
    dealer.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(kMaxMessageBytes));
    dealer.set(zmq::sockopt::sndhwm, kQueueLength);
    dealer.set(zmq::sockopt::linger, 2000);
    dealer.connect(text("endpoint"));
  } catch (const zmq::error_t& error) {
    return fail(Code::InvalidArgument,
                "cannot use the control-plane credentials: " + std::string(error.what()));
  }
  return std::unique_ptr<ControlClient>(new ControlClient(std::move(impl)));
}

int ControlClient::rank() const { return impl_->rank; }

bool ControlClient::is_sealed(std::string_view job, std::string_view seal) const {
  const std::string right = sign(impl_->seal_key, job);
  return seal.size() == right.size() &&
         ::CRYPTO_memcmp(seal.data(), right.data(), right.size()) == 0;
}

void ControlClient::send(const json& message) {
  try {
    // A full queue means the coordinator has been gone for long: training goes on without it.
    (void)impl_->dealer.send(zmq::buffer(text_of(message)), zmq::send_flags::dontwait);
  } catch (const zmq::error_t&) {
  }
}

std::unique_ptr<json> ControlClient::receive(std::chrono::milliseconds timeout) {
  try {
    zmq::pollitem_t item{impl_->dealer.handle(), 0, ZMQ_POLLIN, 0};
    if (timeout.count() > 0) zmq::poll(&item, 1, timeout);
    zmq::message_t body;
    if (!impl_->dealer.recv(body, zmq::recv_flags::dontwait)) return nullptr;
    return parse_message(body.to_string_view());
  } catch (const zmq::error_t&) {
    return nullptr;  // interrupted: as if none had come
  }
}

}  // namespace weft::runtime
