// Addresses and sockets. All sockets are non-blocking and close on exec. Internal to comm/tcp.
#pragma once

#include <string>
#include <utility>

#include "base/expected.h"

namespace weft::comm {

/// Owns a descriptor.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Socket();

  int get() const { return descriptor_; }
  bool is_open() const { return descriptor_ >= 0; }
  int release() { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_ = -1;
};

/// `endpoint` becomes "host:port" of what it listens on. Errors: InvalidArgument, Busy, Io.
Expected<Socket> listen_on(const std::string& host, int port, std::string& endpoint);

/// Begins to connect; when the socket can be written to, connect_error says whether it is.
/// Errors: InvalidArgument (not "host:port"), Unavailable, Io.
Expected<Socket> begin_connect(const std::string& endpoint);
/// 0, or what kept it from connecting.
int connect_error(int socket);
/// The next connection, or a closed one when there is none.
Socket accept_from(int listener);
/// Small messages go at once.
void set_no_delay(int socket);
/// Lets this process have `count` descriptors, where that is allowed.
void allow_descriptors(std::size_t count);

}  // namespace weft::comm
