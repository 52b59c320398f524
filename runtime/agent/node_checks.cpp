#include "runtime/agent/node_checks.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>

#include "base/files.h"
#include "base/units.h"

namespace weft::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = std::size_t{1} << 18;
constexpr int kSocketSeconds = 5;

std::string text_of_bytes(double bytes) { return format_bytes(static_cast<std::uint64_t>(bytes)); }

NodeCheck check_disk(const NodeCheckOptions& options) {
  NodeCheck check{"disk", false, 0, {}};
  struct statvfs status {};
  if (::statvfs(options.run.c_str(), &status) != 0) {
    check.text = options.run.string() + " cannot be measured: " + std::strerror(errno);
    return check;
  }
  check.value = static_cast<double>(status.f_bavail) * static_cast<double>(status.f_frsize);
  check.good = check.value >= options.min_disk_bytes;
  check.text = text_of_bytes(check.value) + " free in " + options.run.string() +
               (check.good ? ""
                           : "; at least " + text_of_bytes(options.min_disk_bytes) +
                                 " are needed: make room there");
  return check;
}

/// Writes, forces to disk, reads back and removes a small file.
NodeCheck check_write(const NodeCheckOptions& options) {
  NodeCheck check{"write", false, 0, {}};
  const fs::path path = options.run / (".check-" + std::to_string(::getpid()));
  const std::string content(65536, 'w');
  const auto written = write_file_atomically(path, content);
  const auto back = written ? read_file(path, content.size()) : Expected<std::string>();
  check.good = written && back && *back == content;
  check.value = check.good ? static_cast<double>(content.size()) : 0;
  check.text = check.good ? "a file was written and read back"
               : !written ? written.error().message
               : !back    ? back.error().message
                          : path.string() + " came back with other bytes: replace the disk";
  std::error_code ignored;
  fs::remove(path, ignored);
  return check;
}

NodeCheck check_memory(const NodeCheckOptions& options) {
  NodeCheck check{"memory", false, 0, {}};
  std::ifstream file("/proc/meminfo");
  for (std::string key; file >> key;) {
    double kibibytes = 0;
    if (key == "MemAvailable:" && file >> kibibytes) {
      check.value = kibibytes * 1024;
      break;
    }
    file.ignore(256, '\n');
  }
  check.good = check.value >= options.min_memory_bytes;
  check.text = text_of_bytes(check.value) + " available" +
               (check.good ? ""
                           : "; at least " + text_of_bytes(options.min_memory_bytes) +
                                 " are needed: end what else runs here");
  return check;
}

class Socket {
 public:
  explicit Socket(int descriptor) : descriptor_(descriptor) {
    const timeval bound{kSocketSeconds, 0};
    if (descriptor_ >= 0) {
      ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
      ::setsockopt(descriptor_, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
    }
  }
  ~Socket() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

bool send_all(int to, std::size_t bytes) {
  const std::string piece(kPiece, 'x');
  for (std::size_t sent = 0; sent < bytes;) {
    const ssize_t n = ::send(to, piece.data(), std::min(kPiece, bytes - sent), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    sent += static_cast<std::size_t>(n);
  }
  return true;
}

bool receive_all(int from, std::size_t bytes) {
  std::string piece(kPiece, '\0');
  for (std::size_t got = 0; got < bytes;) {
    const ssize_t n = ::recv(from, piece.data(), piece.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    got += static_cast<std::size_t>(n);
  }
  return true;
}

/// Seconds that `bytes` take through one TCP connection of this node to itself, or an error's text.
std::string time_loopback(std::size_t bytes, const Clock& clock, double& took) {
  const auto why = [](const char* what) { return std::string(what) + ": " + std::strerror(errno); };
  const Socket listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  if (listener.get() < 0 || ::bind(listener.get(), plain, length) != 0 ||
      ::listen(listener.get(), 1) != 0 || ::getsockname(listener.get(), plain, &length) != 0)
    return why("loopback cannot be listened on");
  const Socket out(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(out.get(), plain, length) != 0) return why("loopback cannot be connected to");
  const Socket in(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (in.get() < 0) return why("loopback does not accept");
  const Instant begin = clock.now();
  bool sent = false;
  std::thread sender([&] { sent = send_all(out.get(), bytes); });
  const bool received = receive_all(in.get(), bytes);
  sender.join();
  took = seconds(clock.now() - begin);
  return sent && received ? "" : "loopback lost what was sent";
}

NodeCheck check_loopback(const NodeCheckOptions& options, const Clock& clock) {
  NodeCheck check{"loopback", false, 0, {}};
  double took = 0;
  if (const std::string why = time_loopback(options.loopback_bytes, clock, took); !why.empty()) {
    check.text = why;
    return check;
  }
  check.value = static_cast<double>(options.loopback_bytes) / std::max(took, 1e-9);
  check.good = check.value >= options.min_loopback_bytes_per_second;
  check.text = text_of_bytes(check.value) + "/s over loopback" +
               (check.good ? ""
                           : "; at least " + text_of_bytes(options.min_loopback_bytes_per_second) +
                                 "/s are needed: look at the node's load and network settings");
  return check;
}

}  // namespace

std::vector<NodeCheck> check_node(const NodeCheckOptions& options, const Clock& clock) {
  std::vector<NodeCheck> checks = {check_disk(options), check_write(options), check_memory(options),
                                   check_loopback(options, clock)};
#ifdef WEFT_CUDA
  std::error_code error;
  const bool present = fs::exists("/dev/nvidia0", error);
  checks.push_back({"gpu", present, present ? 1.0 : 0.0,
                    present ? "/dev/nvidia0 is there" : "no /dev/nvidia0: load the driver"});
#endif
  return checks;
}

Expected<void> verdict(const std::vector<NodeCheck>& checks) {
  for (const NodeCheck& check : checks)
    if (!check.good)
      return fail(Code::Unavailable,
                  "this node cannot take part: " + check.name + ": " + check.text);
  return {};
}

}  // namespace weft::runtime
