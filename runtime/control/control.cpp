#include "runtime/control/control.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "runtime/control/curve_client.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

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

std::string identity_of(int rank) { return "rank-" + std::to_string(rank); }

/// A JSON object with a string "type", or null.
std::unique_ptr<json> parse_message(std::string_view text) {
  auto message = std::make_unique<json>(json::parse(text, nullptr, false));
  const bool good =
      message->is_object() && message->contains("type") && message->at("type").is_string();
  return good ? std::move(message) : nullptr;
}

}  // namespace

struct ControlServer::Impl {
  CurveListener listener;
  CurveKeys keys = make_curve_keys();
  std::string seal_key = make_curve_keys().secret;  // of jobs; each worker has it too
  std::map<int, CurveKeys> workers;                 // by rank
};

ControlServer::ControlServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ControlServer::~ControlServer() = default;

Expected<std::unique_ptr<ControlServer>> ControlServer::open(const std::string& host, int port,
                                                             const std::vector<int>& ranks) {
  auto impl = std::make_unique<Impl>();
  CurveOptions options{host, port, impl->keys.secret, {}, kMaxMessageBytes};
  for (const int rank : ranks) {
    impl->workers[rank] = make_curve_keys();
    options.allowed[impl->workers[rank].open] = std::to_string(rank);
  }
  WEFT_TRY(impl->listener.open(options));
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(impl)));
}

std::string ControlServer::endpoint() const { return impl_->listener.endpoint(); }
long long ControlServer::num_refused() const { return impl_->listener.num_refused(); }

std::string ControlServer::credentials(int rank) const {
  const CurveKeys& worker = impl_->workers.at(rank);
  return json{{"version", kControlVersion},
              {"rank", rank},
              {"endpoint", impl_->listener.endpoint()},
              {"server_key", impl_->keys.open},
              {"public_key", worker.open},
              {"secret_key", worker.secret},
              {"seal_key", impl_->seal_key}}
      .dump();
}

std::string ControlServer::seal(std::string_view job) const { return sign(impl_->seal_key, job); }

Expected<std::vector<Incoming>> ControlServer::poll(std::chrono::milliseconds timeout,
                                                    std::span<const int> descriptors) {
  std::vector<Incoming> messages;
  WEFT_TRY(impl_->listener.poll(
      timeout, descriptors,
      [&](const std::string& peer, std::string_view name, std::string_view body) {
        int rank = -1;
        std::from_chars(name.data(), name.data() + name.size(), rank);
        std::unique_ptr<json> message = parse_message(body);
        // A worker speaks for itself only: the identity that answers go to must be its own.
        if (!message || peer != identity_of(rank)) return false;
        messages.push_back({rank, std::move(message)});
        return true;
      }));
  return messages;
}

void ControlServer::send(int rank, const json& message) { send_text(rank, text_of(message)); }

void ControlServer::send_text(int rank, const std::string& message) {
  impl_->listener.send(identity_of(rank), message);
}

struct ControlClient::Impl {
  CurveClient client;
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
      !given.value("rank", json()).is_number_integer() ||
      text("server_key").size() != kCurveKeyLength ||
      text("public_key").size() != kCurveKeyLength ||
      text("secret_key").size() != kCurveKeyLength || text("seal_key").size() != kCurveKeyLength)
    return fail(Code::InvalidArgument,
                "the control-plane credentials are not those of this version of weft; workers are "
                "started by 'weft run'");
  auto impl = std::make_unique<Impl>();
  impl->rank = given["rank"].get<int>();
  impl->seal_key = text("seal_key");
  try {
    impl->client.connect({.endpoint = text("endpoint"),
                          .identity = identity_of(impl->rank),
                          .server_key = text("server_key"),
                          .keys = {text("public_key"), text("secret_key")},
                          .max_bytes = kMaxMessageBytes,
                          .linger = std::chrono::seconds(2)});
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

void ControlClient::send(const json& message) { impl_->client.send(text_of(message)); }

std::unique_ptr<json> ControlClient::receive(std::chrono::milliseconds timeout) {
  try {
    zmq::socket_t& dealer = impl_->client.socket();
    zmq::pollitem_t item{dealer.handle(), 0, ZMQ_POLLIN, 0};
    if (timeout.count() > 0) zmq::poll(&item, 1, timeout);
    zmq::message_t body;
    if (!dealer.recv(body, zmq::recv_flags::dontwait)) return nullptr;
    return parse_message(body.to_string_view());
  } catch (const zmq::error_t&) {
    return nullptr;  // interrupted: as if none had come
  }
}

}  // namespace weft::runtime
