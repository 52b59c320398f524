#include "runtime/control/channel.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <zmq.hpp>

#include "base/files.h"

namespace weft::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kKeyLength = 40;  // Z85 text of a 32-byte key
constexpr int kQueueLength = 10'000;    // messages a side keeps for a slow or absent other
constexpr const char* kKeysTitle = "weft-keys-1";

std::string raw_key(const std::string& z85) {
  std::string raw(32, '\0');
  zmq_z85_decode(reinterpret_cast<std::uint8_t*>(raw.data()), z85.c_str());
  return raw;
}

bool is_key(const std::string& text) {
  std::array<std::uint8_t, 32> raw{};
  return text.size() == kKeyLength && zmq_z85_decode(raw.data(), text.c_str()) != nullptr;
}

/// A secret that nobody else may read; false when somebody else was first.
Expected<bool> create_secret(const fs::path& path, const std::string& content) {
  const fs::path temporary = path.string() + "." + std::to_string(::getpid());
  const int file =
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return io_error("create", temporary, errno);
  const bool written =
      ::write(file, content.data(), content.size()) == static_cast<ssize_t>(content.size());
  const int write_error = errno;
  ::close(file);
  // link() fails when the name is there: who comes second reads the first one's keys.
  const bool first = written && ::link(temporary.c_str(), path.c_str()) == 0;
  const int link_error = errno;
  ::unlink(temporary.c_str());
  if (!written) return io_error("write", temporary, write_error);
  if (!first && link_error != EEXIST) return io_error("create", path, link_error);
  return first;
}

}  // namespace

RunKeys make_run_keys() {
  const auto pair = [] {
    std::array<char, kKeyLength + 1> open{}, secret{};
    zmq_curve_keypair(open.data(), secret.data());
    return std::pair<std::string, std::string>(open.data(), secret.data());
  };
  RunKeys keys;
  std::tie(keys.server_public, keys.server_secret) = pair();
  std::tie(keys.agent_public, keys.agent_secret) = pair();
  return keys;
}

std::string to_text(const RunKeys& keys) {
  std::string text = kKeysTitle;
  for (const std::string* key :
       {&keys.server_public, &keys.server_secret, &keys.agent_public, &keys.agent_secret})
    text += '\n' + *key;
  return text + '\n';
}

Expected<RunKeys> parse_run_keys(std::string_view text) {
  RunKeys keys;
  const std::string_view title = kKeysTitle;
  bool good = text.starts_with(title) && text.size() == title.size() + 1 + 4 * (kKeyLength + 1);
  std::size_t at = title.size() + 1;
  for (std::string* key :
       {&keys.server_public, &keys.server_secret, &keys.agent_public, &keys.agent_secret}) {
    if (!good) break;
    *key = text.substr(at, kKeyLength);
    at += kKeyLength + 1;
    good = is_key(*key);
  }
  if (!good)
    return fail(Code::InvalidArgument,
                "these are not the control-plane keys of a run of this "
                "version of weft");
  return keys;
}

Secret derive_secret(const RunKeys& keys, std::string_view purpose) {
  Secret secret{};
  unsigned int length = 0;
  ::HMAC(::EVP_sha256(), keys.agent_secret.data(), static_cast<int>(keys.agent_secret.size()),
         reinterpret_cast<const unsigned char*>(purpose.data()), purpose.size(),
         reinterpret_cast<unsigned char*>(secret.data()), &length);
  return secret;
}

std::string to_text(const Secret& secret) {
  std::string text(kKeyLength + 1, '\0');
  zmq_z85_encode(text.data(), reinterpret_cast<const std::uint8_t*>(secret.data()), secret.size());
  text.pop_back();
  return text;
}

Expected<Secret> parse_secret(std::string_view text) {
  Secret secret{};
  if (!is_key(std::string(text)))
    return fail(Code::InvalidArgument, "a secret has 40 characters of Z85");
  zmq_z85_decode(reinterpret_cast<std::uint8_t*>(secret.data()), std::string(text).c_str());
  return secret;
}

Expected<RunKeys> keys_of_run(const std::string& directory) {
  const fs::path path = fs::path(directory) / "run.keys";
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return io_error("create", directory, errno);
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0) return io_error("look at", directory, errno);
  if (status.st_uid != ::geteuid() || (status.st_mode & 022) != 0)
    return fail(Code::InvalidArgument, directory +
                                           " may be changed by others, so keys in it "
                                           "protect nothing; end the run's agents and "
                                           "remove it");
  if (::stat(path.c_str(), &status) != 0) {
    const RunKeys made = make_run_keys();
    WEFT_TRY_ASSIGN(const bool first, create_secret(path, to_text(made)));
    if (first) return made;
    if (::stat(path.c_str(), &status) != 0) return io_error("read", path, errno);
  }
  if (status.st_uid != ::geteuid() || (status.st_mode & 077) != 0)
    return fail(Code::InvalidArgument, path.string() +
                                           " may be read by others, so its keys protect nothing; "
                                           "end the run's agents and remove the file");
  WEFT_TRY_ASSIGN(const std::string text, read_file(path, 4096));
  auto keys = parse_run_keys(text);
  if (!keys) return fail_in(path.string(), keys.error());
  return keys;
}

struct ChannelServer::Impl {
  zmq::context_t context{1};
  zmq::socket_t authenticator{context, zmq::socket_type::rep};
  zmq::socket_t router{context, zmq::socket_type::router};
  std::string allowed;  // the agents' raw public key
  std::string endpoint;
  long long refused = 0;

  void answer_handshake();
  void receive_all(std::vector<ChannelMessage>& messages);
};

ChannelServer::ChannelServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChannelServer::~ChannelServer() = default;
std::string ChannelServer::endpoint() const { return impl_->endpoint; }
long long ChannelServer::num_refused() const { return impl_->refused; }

Expected<std::unique_ptr<ChannelServer>> ChannelServer::open(const std::string& host, int port,
                                                             const RunKeys& keys) {
  auto impl = std::make_unique<Impl>();
  impl->allowed = raw_key(keys.agent_public);
  const std::string address =
      "tcp://" + host + ":" + (port == 0 ? std::string("*") : std::to_string(port));
  try {
    // Every connection is first asked of this socket (ZeroMQ's authentication protocol, RFC 27).
    impl->authenticator.set(zmq::sockopt::linger, 0);
    impl->authenticator.bind("inproc://zeromq.zap.01");
    zmq::socket_t& router = impl->router;
    router.set(zmq::sockopt::linger, 1000);
    router.set(zmq::sockopt::curve_server, true);
    router.set(zmq::sockopt::curve_secretkey, keys.server_secret);
    router.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(kMaxChannelBytes));
    router.set(zmq::sockopt::sndhwm, kQueueLength);
    router.set(zmq::sockopt::rcvhwm, kQueueLength);
    // An agent that comes again under its name is the one to talk to.
    router.set(zmq::sockopt::router_handover, true);
    router.bind(address);
    impl->endpoint = router.get(zmq::sockopt::last_endpoint);
  } catch (const zmq::error_t& error) {
    if (error.num() == EADDRINUSE)
      return fail(Code::Busy, "control port " + std::to_string(port) + " on " + host +
                                  " is in use by another process; choose another with "
                                  "--set control.port=N, or 0 for any free one");
    return fail(Code::InvalidArgument, "cannot listen on " + address + ": " + error.what() +
                                           "; check control.host and control.port");
  }
  return std::unique_ptr<ChannelServer>(new ChannelServer(std::move(impl)));
}

void ChannelServer::Impl::answer_handshake() {
  // version, request id, domain, address, identity, mechanism, then the credentials
  std::vector<std::string> frames;
  for (bool more = true; more;) {
    zmq::message_t frame;
    if (!authenticator.recv(frame, zmq::recv_flags::dontwait)) return;
    more = frame.more();
    frames.push_back(frame.to_string());
  }
  const bool known = frames.size() >= 7 && frames[5] == "CURVE" && frames[6] == allowed;
  if (!known) ++refused;
  const std::array<std::string, 6> answer = {"1.0",
                                             frames.size() > 1 ? frames[1] : std::string(),
                                             known ? "200" : "400",
                                             known ? "OK" : "unknown key",
                                             known ? "agent" : "",
                                             ""};
  for (std::size_t i = 0; i < answer.size(); ++i)
    authenticator.send(zmq::buffer(answer[i]),
                       i + 1 < answer.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
}

void ChannelServer::Impl::receive_all(std::vector<ChannelMessage>& messages) {
  for (;;) {
    zmq::message_t peer, body;
    if (!router.recv(peer, zmq::recv_flags::dontwait)) return;
    bool more = peer.more();
    int parts = 0;
    while (more) {
      zmq::message_t part;
      if (!router.recv(part, zmq::recv_flags::dontwait)) break;
      more = part.more();
      if (parts++ == 0) body = std::move(part);
    }
    if (parts != 1) {
      ++refused;
      continue;
    }
    messages.push_back({peer.to_string(), body.to_string()});
  }
}

Expected<std::vector<ChannelMessage>> ChannelServer::poll(std::chrono::milliseconds timeout,
                                                          std::span<const int> descriptors) {
  std::vector<ChannelMessage> messages;
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

void ChannelServer::send(const std::string& peer, std::string_view bytes) {
  try {
    impl_->router.send(zmq::buffer(peer), zmq::send_flags::sndmore | zmq::send_flags::dontwait);
    impl_->router.send(zmq::buffer(bytes), zmq::send_flags::dontwait);
  } catch (const zmq::error_t&) {
    // The agent is gone; its silence is what tells.
  }
}

struct ChannelClient::Impl {
  zmq::context_t context{1};
  zmq::socket_t dealer{context, zmq::socket_type::dealer};
};

ChannelClient::ChannelClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChannelClient::~ChannelClient() = default;

Expected<std::unique_ptr<ChannelClient>> ChannelClient::connect(const std::string& endpoint,
                                                                const std::string& name,
                                                                const RunKeys& keys) {
  auto impl = std::make_unique<Impl>();
  try {
    zmq::socket_t& dealer = impl->dealer;
    dealer.set(zmq::sockopt::routing_id, name);
    dealer.set(zmq::sockopt::curve_serverkey, keys.server_public);
    dealer.set(zmq::sockopt::curve_publickey, keys.agent_public);
    dealer.set(zmq::sockopt::curve_secretkey, keys.agent_secret);
    dealer.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(kMaxChannelBytes));
    dealer.set(zmq::sockopt::sndhwm, kQueueLength);
    dealer.set(zmq::sockopt::linger, 500);
    dealer.set(zmq::sockopt::reconnect_ivl, 50);
    dealer.set(zmq::sockopt::reconnect_ivl_max, 1000);
    dealer.connect(endpoint);
  } catch (const zmq::error_t& error) {
    return fail(Code::InvalidArgument,
                "cannot connect to the coordinator at " + endpoint + ": " + error.what());
  }
  return std::unique_ptr<ChannelClient>(new ChannelClient(std::move(impl)));
}

int ChannelClient::descriptor() const { return impl_->dealer.get(zmq::sockopt::fd); }

bool ChannelClient::ready() const {
  return (impl_->dealer.get(zmq::sockopt::events) & ZMQ_POLLIN) != 0;
}

void ChannelClient::send(std::string_view bytes) {
  try {
    (void)impl_->dealer.send(zmq::buffer(bytes), zmq::send_flags::dontwait);
  } catch (const zmq::error_t&) {
  }
}

bool ChannelClient::receive(std::string& bytes) {
  try {
    zmq::message_t body;
    if (!impl_->dealer.recv(body, zmq::recv_flags::dontwait)) return false;
    bytes = body.to_string();
    while (body.more())
      if (!impl_->dealer.recv(body, zmq::recv_flags::dontwait)) break;
    return true;
  } catch (const zmq::error_t&) {
    return false;
  }
}

}  // namespace weft::runtime
