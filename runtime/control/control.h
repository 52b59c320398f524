// The control plane inside a node: JSON messages between an agent and its workers over ZeroMQ,
// encrypted and authenticated (CURVE) with keys made for this run and handed to each worker through
// an inherited descriptor. Nothing here is on a step's critical path.
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::runtime {

/// A message is one JSON object with "type" and what that type needs:
///   worker -> agent: hello {pid, version, address} · flush {id} · done {outcome} · failed {code,
///     message, blames, damaged_checkpoint} and records, numbered upwards from 0 (seq): metrics
///     {record} · event {kind, message, details} · samples {step, lines}
///   agent -> worker: assign {job, seal, checkpoints, traces, attempt, resume, fingerprint, and for
///     ranks on several nodes world {run, ranks_here, addresses, secret}} · flushed {id} · stop
///     {reason} · save {id, at_step} · shutdown {}
inline constexpr std::size_t kMaxMessageBytes = 64u << 20;
inline constexpr int kControlVersion = 2;  // 2: jobs are sealed

struct Incoming {
  int rank = 0;  // proved by the key that the message came under
  std::unique_ptr<nlohmann::json> message;
};

/// The agent's end. Threads: one.
class ControlServer {
 public:
  /// For the workers `ranks`. port 0: any free one. Errors: Busy when the port is taken;
  /// InvalidArgument for a bad host.
  static Expected<std::unique_ptr<ControlServer>> open(const std::string& host, int port,
                                                       const std::vector<int>& ranks);
  ~ControlServer();

  std::string endpoint() const;
  /// What worker `rank` needs to connect, keys included: give it to nobody else.
  std::string credentials(int rank) const;
  /// Signs a job for the workers that hold these credentials (HMAC-SHA256, hexadecimal).
  std::string seal(std::string_view job) const;

  /// Waits at most `timeout` for messages or until one of `descriptors` is readable.
  /// Malformed messages are dropped and counted.
  Expected<std::vector<Incoming>> poll(std::chrono::milliseconds timeout,
                                       std::span<const int> descriptors);
  /// Queues; never blocks. A worker that is not connected loses it.
  void send(int rank, const nlohmann::json& message);
  /// The same, of a message that is text already.
  void send_text(int rank, const std::string& message);
  /// Connections refused and messages dropped so far.
  long long num_refused() const;

 private:
  struct Impl;
  explicit ControlServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// A worker's end. Threads: one.
class ControlClient {
 public:
  /// Errors: InvalidArgument when the credentials are not what credentials() made.
  static Expected<std::unique_ptr<ControlClient>> connect(std::string_view credentials);
  ~ControlClient();

  int rank() const;
  /// Is this the seal of this job, by whoever made our credentials?
  bool is_sealed(std::string_view job, std::string_view seal) const;
  /// Queues; never blocks, also when the agent is gone: beyond some thousands the queue is dropped.
  void send(const nlohmann::json& message);
  /// The next message, waiting at most `timeout`; null when none came.
  std::unique_ptr<nlohmann::json> receive(std::chrono::milliseconds timeout);

 private:
  struct Impl;
  explicit ControlClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace weft::runtime
