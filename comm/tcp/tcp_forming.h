// How the ranks of a world find each other: each connects to all that are higher and is connected
// to by all that are lower, and each pair shakes hands. One thread, bounded in time, memory and
// connections. Internal to comm/tcp.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "comm/tcp/tcp_handshake.h"
#include "comm/tcp/tcp_socket.h"

namespace weft::comm {

class TcpForming {
 public:
  /// `listener` and `endpoints` outlive it. `aborted` gives the reason once the world is over.
  TcpForming(const TcpIdentity& self, int listener, const std::vector<std::string>& endpoints,
             std::function<std::optional<std::string>()> aborted);

  /// The sockets to all ranks, -1 for ourselves; the caller's. Errors: those of TcpWorld::join.
  Expected<std::vector<int>> run(std::chrono::milliseconds bound);

  int num_strangers() const { return num_strangers_; }
  /// The lowest rank that is not connected, or -1.
  int missing_rank() const;

 private:
  /// A connection before it is believed.
  struct Caller {
    enum class Phase { connecting, answer, hello, proof };  // what is awaited
    Socket socket;
    Phase phase = Phase::hello;
    int to = -1;  // we called this rank; -1: we were called
    TcpHello hello;
    TcpAnswer answer;
    TcpDigest proof{};
    std::size_t got = 0;  // of what is awaited
    Instant since{};
  };
  /// What is known of another rank.
  struct Rank {
    Socket socket;
    bool calling = false;
    Instant call_again{};
    std::string why = "it has not connected";
  };

  void call_others(Instant now);
  void accept_callers(Instant now);
  /// Goes on with one. False: it is over (done or dropped).
  Expected<bool> advance(Caller& caller);
  Expected<bool> advance_called(Caller& caller);
  Expected<bool> advance_calling(Caller& caller);
  /// True: `into` is complete. Errors: Unavailable, when the peer has closed.
  template <class T>
  Expected<bool> take(Caller& caller, T& into);
  void settle(Caller& caller, int rank);
  void drop(Caller& caller, const Error& why, Instant now);
  std::string missing() const;

  const TcpIdentity& self_;
  int listener_;
  const std::vector<std::string>& endpoints_;
  std::function<std::optional<std::string>()> aborted_;
  std::vector<Rank> ranks_;
  std::vector<Caller> callers_;
  int num_missing_;
  int num_strangers_ = 0;
};

}  // namespace weft::comm
