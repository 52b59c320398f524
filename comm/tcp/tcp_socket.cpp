#include "comm/tcp/tcp_socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace weft::comm {
namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Expected<Addresses> resolve(const std::string& host, const std::string& port, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (code != 0)
    return fail(Code::InvalidArgument,
                "'" + host + "' is no address of a host: " + ::gai_strerror(code));
  return Addresses(found, &::freeaddrinfo);
}

/// "host:port" or "[host]:port".
Expected<std::pair<std::string, std::string>> split(const std::string& endpoint) {
  const std::size_t colon = endpoint.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == endpoint.size())
    return fail(Code::InvalidArgument, "'" + endpoint + "' is not 'host:port'");
  std::string host = endpoint.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  return std::pair(host, endpoint.substr(colon + 1));
}

Expected<std::string> name_of(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
      ::getnameinfo(reinterpret_cast<sockaddr*>(&address), length, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return fail(Code::Io, std::string("a socket without an address: ") + std::strerror(errno));
  const bool v6 = address.ss_family == AF_INET6;
  return (v6 ? "[" : "") + std::string(host) + (v6 ? "]:" : ":") + port;
}

}  // namespace

Socket::~Socket() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Expected<Socket> listen_on(const std::string& host, int port, std::string& endpoint) {
  if (port < 0 || port > 65535)
    return fail(Code::InvalidArgument, "there is no port " + std::to_string(port));
  WEFT_TRY_ASSIGN(const Addresses addresses, resolve(host, std::to_string(port), AI_PASSIVE));
  Socket socket(::socket(addresses->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const auto failed = [&](Code code) {
    return fail(code, "cannot listen on " + host + " port " + std::to_string(port) + ": " +
                          std::strerror(errno));
  };
  if (!socket.is_open()) return failed(Code::Io);
  if (::bind(socket.get(), addresses->ai_addr, addresses->ai_addrlen) != 0)
    return failed(errno == EADDRINUSE      ? Code::Busy
                  : errno == EADDRNOTAVAIL ? Code::InvalidArgument
                                           : Code::Io);
  if (::listen(socket.get(), 4096) != 0) return failed(Code::Io);
  WEFT_TRY_ASSIGN(endpoint, name_of(socket.get()));
  if (endpoint.starts_with("0.0.0.0:") || endpoint.starts_with("[::]:"))
    return fail(Code::InvalidArgument,
                "listen on the address by which the others reach this host, not on " + host);
  return socket;
}

Expected<Socket> begin_connect(const std::string& endpoint) {
  WEFT_TRY_ASSIGN(const auto parts, split(endpoint));
  WEFT_TRY_ASSIGN(const Addresses addresses, resolve(parts.first, parts.second, 0));
  Socket socket(::socket(addresses->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.is_open()) return fail(Code::Io, std::strerror(errno));
  set_no_delay(socket.get());
  if (::connect(socket.get(), addresses->ai_addr, addresses->ai_addrlen) != 0 &&
      errno != EINPROGRESS)
    return fail(Code::Unavailable, std::strerror(errno));
  return socket;
}

int connect_error(int socket) {
  int error = 0;
  socklen_t length = sizeof error;
  return ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

Socket accept_from(int listener) {
  Socket socket(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (socket.is_open()) set_no_delay(socket.get());
  return socket;
}

void set_no_delay(int socket) {
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void allow_descriptors(std::size_t count) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= count) return;
  limit.rlim_cur = std::min<rlim_t>(count, limit.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace weft::comm
