// One TCP connection between two processes of a test's run, cut without touching any other: its two
// sockets are borrowed from the processes that hold them. No network namespace is needed.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace weft::test {

/// Of this process's network namespace, between these processes.
struct Connection {
  pid_t process[2];
  int port[2];
  unsigned long inode[2];
};
std::vector<Connection> connections_among(const std::vector<pid_t>& processes);

/// Why sockets of children cannot be borrowed on this machine, or "".
std::string why_no_borrowing();

/// Nothing arrives at either end any more, and nobody is told. False: it is gone already.
bool cut_silently(const Connection& connection);
/// Both ends are closed at once, under the processes' hands.
bool close_both_ends(const Connection& connection);

}  // namespace weft::test
