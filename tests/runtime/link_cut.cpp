#include "tests/runtime/link_cut.h"

#include <linux/filter.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

namespace weft::test {
namespace {

namespace fs = std::filesystem;

/// The socket that a file descriptor of another process is, or 0.
unsigned long socket_of(const fs::path& descriptor) {
  std::error_code error;
  const std::string target = fs::read_symlink(descriptor, error).string();
  unsigned long inode = 0;
  return !error && std::sscanf(target.c_str(), "socket:[%lu]", &inode) == 1 ? inode : 0;
}

/// A descriptor of this process for a descriptor of another one, or -1.
int borrow(pid_t process, int descriptor) {
  const int of_process = static_cast<int>(::syscall(SYS_pidfd_open, process, 0));
  if (of_process < 0) return -1;
  const int borrowed = static_cast<int>(::syscall(SYS_pidfd_getfd, of_process, descriptor, 0));
  ::close(of_process);
  return borrowed;
}

int borrow_socket(pid_t process, unsigned long inode) {
  std::error_code error;
  fs::directory_iterator entry("/proc/" + std::to_string(process) + "/fd", error), end;
  for (; !error && entry != end; entry.increment(error))
    if (socket_of(entry->path()) == inode)
      return borrow(process, std::atoi(entry->path().filename().c_str()));
  return -1;
}

template <class Deed>
bool at_both_ends(const Connection& connection, const Deed& deed) {
  // Both first: whoever notices what was done to one end may close the other one.
  int sockets[2];
  for (const int end : {0, 1})
    sockets[end] = borrow_socket(connection.process[end], connection.inode[end]);
  bool done = sockets[0] >= 0 && sockets[1] >= 0;
  for (const int socket : sockets) {
    done = done && deed(socket);
    if (socket >= 0) ::close(socket);
  }
  return done;
}

}  // namespace

std::string why_no_borrowing() {
  const int own = borrow(::getpid(), STDIN_FILENO);
  if (own < 0 && errno != EBADF)
    return std::string("no descriptor of another process can be borrowed here: ") +
           std::strerror(errno);
  if (own >= 0) ::close(own);
  return "";
}

std::vector<Connection> connections_among(const std::vector<pid_t>& processes) {
  std::map<unsigned long, pid_t> owners;
  for (const pid_t process : processes) {
    std::error_code error;
    fs::directory_iterator entry("/proc/" + std::to_string(process) + "/fd", error), end;
    for (; !error && entry != end; entry.increment(error))
      if (const unsigned long inode = socket_of(entry->path())) owners[inode] = process;
  }
  struct End {
    pid_t process;
    unsigned long inode;
  };
  std::map<std::pair<int, int>, End> ends;  // by own and other port
  std::ifstream table("/proc/net/tcp");
  std::string line;
  for (std::getline(table, line); std::getline(table, line);) {
    unsigned port = 0, other = 0, state = 0;
    unsigned long inode = 0;
    if (std::sscanf(line.c_str(), " %*d: %*8x:%x %*8x:%x %x %*x:%*x %*x:%*x %*x %*d %*d %lu", &port,
                    &other, &state, &inode) != 4 ||
        state != 1)
      continue;
    if (const auto owner = owners.find(inode); owner != owners.end())
      ends[{static_cast<int>(port), static_cast<int>(other)}] = {owner->second, inode};
  }
  std::vector<Connection> found;
  for (const auto& [ports, one] : ends) {
    const auto other = ends.find({ports.second, ports.first});
    if (other != ends.end() && ports.first < ports.second)
      found.push_back({{one.process, other->second.process},
                       {ports.first, ports.second},
                       {one.inode, other->second.inode}});
  }
  return found;
}

bool cut_silently(const Connection& connection) {
  return at_both_ends(connection, [](int socket) {
    sock_filter nothing = {BPF_RET | BPF_K, 0, 0, 0};  // of every segment that arrives
    const sock_fprog program = {1, &nothing};
    return ::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
  });
}

bool close_both_ends(const Connection& connection) {
  return at_both_ends(connection, [](int socket) {
    return ::shutdown(socket, SHUT_RDWR) == 0 || errno == ENOTCONN;
  });
}

}  // namespace weft::test
