#include "runtime/control/channel.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/files.h"
#include "runtime/control/curve_client.h"

namespace weft::runtime {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKeysTitle = "weft-keys-1";

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
  const CurveKeys server = make_curve_keys(), agent = make_curve_keys();
  return {server.open, server.secret, agent.open, agent.secret};
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
  bool good =
      text.starts_with(title) && text.size() == title.size() + 1 + 4 * (kCurveKeyLength + 1);
  std::size_t at = title.size() + 1;
  for (std::string* key :
       {&keys.server_public, &keys.server_secret, &keys.agent_public, &keys.agent_secret}) {
    if (!good) break;
    *key = text.substr(at, kCurveKeyLength);
    at += kCurveKeyLength + 1;
    good = is_curve_key(*key);
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
  std::string text(kCurveKeyLength + 1, '\0');
  zmq_z85_encode(text.data(), reinterpret_cast<const std::uint8_t*>(secret.data()), secret.size());
  text.pop_back();
  return text;
}

Expected<Secret> parse_secret(std::string_view text) {
  Secret secret{};
  if (!is_curve_key(std::string(text)))
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
  CurveListener listener;
};

ChannelServer::ChannelServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChannelServer::~ChannelServer() = default;
std::string ChannelServer::endpoint() const { return impl_->listener.endpoint(); }
long long ChannelServer::num_refused() const { return impl_->listener.num_refused(); }

Expected<std::unique_ptr<ChannelServer>> ChannelServer::open(const std::string& host, int port,
                                                             const RunKeys& keys) {
  auto impl = std::make_unique<Impl>();
  WEFT_TRY(impl->listener.open(
      {host, port, keys.server_secret, {{keys.agent_public, "agent"}}, kMaxChannelBytes}));
  return std::unique_ptr<ChannelServer>(new ChannelServer(std::move(impl)));
}

Expected<std::vector<ChannelMessage>> ChannelServer::poll(std::chrono::milliseconds timeout,
                                                          std::span<const int> descriptors) {
  std::vector<ChannelMessage> messages;
  WEFT_TRY(impl_->listener.poll(
      timeout, descriptors, [&](const std::string& peer, std::string_view, std::string_view body) {
        messages.push_back({peer, std::string(body)});
        return true;
      }));
  return messages;
}

void ChannelServer::send(const std::string& peer, std::string_view bytes) {
  impl_->listener.send(peer, bytes);
}

struct ChannelClient::Impl {
  CurveClient client;
};

ChannelClient::ChannelClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChannelClient::~ChannelClient() = default;

Expected<std::unique_ptr<ChannelClient>> ChannelClient::connect(const std::string& endpoint,
                                                                const std::string& name,
                                                                const RunKeys& keys) {
  auto impl = std::make_unique<Impl>();
  try {
    impl->client.connect({.endpoint = endpoint,
                          .identity = name,
                          .server_key = keys.server_public,
                          .keys = {keys.agent_public, keys.agent_secret},
                          .max_bytes = kMaxChannelBytes,
                          .linger = std::chrono::milliseconds(500),
                          .reconnect_first = std::chrono::milliseconds(50),
                          .reconnect_most = std::chrono::seconds(1)});
  } catch (const zmq::error_t& error) {
    return fail(Code::InvalidArgument,
                "cannot connect to the coordinator at " + endpoint + ": " + error.what());
  }
  return std::unique_ptr<ChannelClient>(new ChannelClient(std::move(impl)));
}

int ChannelClient::descriptor() const { return impl_->client.socket().get(zmq::sockopt::fd); }

bool ChannelClient::ready() const {
  return (impl_->client.socket().get(zmq::sockopt::events) & ZMQ_POLLIN) != 0;
}

void ChannelClient::send(std::string_view bytes) { impl_->client.send(bytes); }

bool ChannelClient::receive(std::string& bytes) {
  try {
    zmq::socket_t& dealer = impl_->client.socket();
    zmq::message_t body;
    if (!dealer.recv(body, zmq::recv_flags::dontwait)) return false;
    bytes = body.to_string();
    while (body.more())
      if (!dealer.recv(body, zmq::recv_flags::dontwait)) break;
    return true;
  } catch (const zmq::error_t&) {
    return false;
  }
}

}  // namespace weft::runtime
