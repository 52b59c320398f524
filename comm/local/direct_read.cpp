#include "comm/local/direct_read.h"

#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace weft::comm {

std::uint64_t draw_nonce() {
  std::uint64_t nonce = 0;
  if (::getrandom(&nonce, sizeof nonce, 0) == sizeof nonce) return nonce;
  // Without the kernel's: still different for every process and moment.
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()) *
             0x9e3779b97f4a7c15u ^
         static_cast<std::uint64_t>(::getpid());
}

// The nonce is read in the same call, behind the bytes: the kernel looks the process up once a
// call.
std::string read_directly(const RankCard& card, std::uint64_t address, std::byte* to,
                          std::size_t n) {
  constexpr std::size_t kCallBytesMax = std::size_t{1} << 30;
  const auto remote = [](std::uint64_t at) { return reinterpret_cast<void*>(at); };
  for (std::size_t done = 0; done < n;) {
    const std::size_t piece = std::min(n - done, kCallBytesMax);
    std::uint64_t nonce = 0;
    const iovec local[] = {{to + done, piece}, {&nonce, sizeof nonce}};
    const iovec theirs[] = {{remote(address + done), piece},
                            {remote(card.nonce_address), sizeof nonce}};
    const ssize_t got = ::process_vm_readv(static_cast<pid_t>(card.pid), local, 2, theirs, 2, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return errno == ESRCH ? "its process is gone"
                            : std::string("its memory cannot be read: ") + std::strerror(errno);
    if (static_cast<std::size_t>(got) != piece + sizeof nonce)
      return "its memory ends before the message does";
    if (nonce != card.nonce) return "its process is gone, another one has its number";
    done += piece;
  }
  return "";
}

}  // namespace weft::comm
