// Bytes between the coordinator and the agents of the nodes: ZeroMQ over TCP, encrypted and
// authenticated (CURVE) with keys made for this run. What the bytes mean is messages.h's business.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::runtime {

/// Two key pairs, 40 characters of Z85 a key: one for whoever leads, one for the agents. Secret:
/// kept in 0600 files or inherited descriptors, never on a command line or in a log.
struct RunKeys {
  std::string server_public, server_secret, agent_public, agent_secret;
};
RunKeys make_run_keys();
std::string to_text(const RunKeys& keys);
/// Errors: InvalidArgument when it is not what to_text made.
Expected<RunKeys> parse_run_keys(std::string_view text);
/// A secret for one purpose, the same on every node; it tells nothing of the keys (HMAC-SHA256).
using Secret = std::array<std::byte, 32>;
Secret derive_secret(const RunKeys& keys, std::string_view purpose);
std::string to_text(const Secret& secret);
/// Errors: InvalidArgument when it is not what to_text made.
Expected<Secret> parse_secret(std::string_view text);
/// The keys of a run directory's keys/, made there (0600, in a 0700 directory) by whoever comes
/// first. Errors: Io; InvalidArgument when others may read the file or it is no key file.
Expected<RunKeys> keys_of_run(const std::string& directory);

inline constexpr std::size_t kMaxChannelBytes = 8u << 20;

struct ChannelMessage {
  std::string peer;  // the name that the peer gave itself
  std::string bytes;
};

/// The coordinator's end. Threads: one.
class ChannelServer {
 public:
  /// port 0: any free one. Errors: Busy when the port is taken; InvalidArgument for a bad host.
  static Expected<std::unique_ptr<ChannelServer>> open(const std::string& host, int port,
                                                       const RunKeys& keys);
  ~ChannelServer();

  std::string endpoint() const;
  /// Waits at most `timeout` for messages or until one of `descriptors` is readable.
  Expected<std::vector<ChannelMessage>> poll(std::chrono::milliseconds timeout,
                                             std::span<const int> descriptors);
  /// Queues; never blocks. A peer that is not connected loses it.
  void send(const std::string& peer, std::string_view bytes);
  /// Connections refused so far: a key of another run, or none.
  long long num_refused() const;

 private:
  struct Impl;
  explicit ChannelServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// An agent's end; it reconnects by itself while the endpoint stays the same. Threads: one.
class ChannelClient {
 public:
  /// Errors: InvalidArgument.
  static Expected<std::unique_ptr<ChannelClient>> connect(const std::string& endpoint,
                                                          const std::string& name,
                                                          const RunKeys& keys);
  ~ChannelClient();

  /// A descriptor to be polled for readability; after it was, receive() until nothing comes. It may
  /// stay silent for what came while something was sent: ask ready() before waiting.
  int descriptor() const;
  bool ready() const;
  /// Queues; never blocks. Beyond some thousands unsent ones the queue is lost.
  void send(std::string_view bytes);
  /// The next message; false when there is none now.
  bool receive(std::string& bytes);

 private:
  struct Impl;
  explicit ChannelClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace weft::runtime
