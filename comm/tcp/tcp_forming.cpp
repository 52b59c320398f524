#include "comm/tcp/tcp_forming.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace weft::comm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kSlice{50};       // between looks at the clock and at an abort
constexpr milliseconds kCallAgain{100};  // after a call that nobody took
constexpr milliseconds kHandshakeBound{5000};
constexpr std::size_t kStrangersMax = 64;  // beside those that can be ours
constexpr int kNamedMax = 8;               // missing ranks in a message

/// A handshake's messages are smaller than any socket's buffer: whole, or it is over.
template <class T>
bool say(int socket, const T& message) {
  return ::send(socket, &message, sizeof message, MSG_NOSIGNAL) ==
         static_cast<ssize_t>(sizeof message);
}

}  // namespace

TcpForming::TcpForming(const TcpIdentity& self, int listener,
                       const std::vector<std::string>& endpoints,
                       std::function<std::optional<std::string>()> aborted)
    : self_(self),
      listener_(listener),
      endpoints_(endpoints),
      aborted_(std::move(aborted)),
      ranks_(endpoints.size()),
      num_missing_(self.world_size - 1) {}

Expected<std::vector<int>> TcpForming::run(milliseconds bound) {
  const Instant deadline = std::chrono::steady_clock::now() + bound;
  std::vector<pollfd> polled;
  while (num_missing_ > 0) {
    const Instant now = std::chrono::steady_clock::now();
    if (const auto reason = aborted_())
      return fail(Code::Unavailable, "the world was ended while it formed: " + *reason);
    if (now >= deadline)
      return fail(Code::DeadlineExceeded, "rank " + std::to_string(self_.rank) + " waited " +
                                              std::to_string(bound.count()) +
                                              " ms for its world to form: " + missing());
    call_others(now);
    polled.assign(1, {listener_, POLLIN, 0});
    for (const Caller& caller : callers_) {
      const bool connecting = caller.phase == Caller::Phase::connecting;
      polled.push_back({caller.socket.get(), static_cast<short>(connecting ? POLLOUT : POLLIN), 0});
    }
    const auto slice = std::min<Duration>(kSlice, deadline - now);
    ::poll(polled.data(), polled.size(),
           static_cast<int>(std::chrono::ceil<milliseconds>(slice).count()));
    for (std::size_t i = 0; i < callers_.size(); ++i) {
      Caller& caller = callers_[i];
      if (polled[i + 1].revents == 0) {
        if (now - caller.since < kHandshakeBound) continue;
        drop(caller, Error{Code::DeadlineExceeded, "it says nothing"}, now);
        continue;
      }
      const auto more = advance(caller);
      if (more) continue;
      // Who has proved to be ours and refuses will not think otherwise.
      if (more.error().code == Code::Unavailable && caller.phase == Caller::Phase::answer &&
          caller.got == sizeof(TcpAnswer))
        return fail(Code::Unavailable, "rank " + std::to_string(caller.to) + " at " +
                                           endpoints_[static_cast<std::size_t>(caller.to)] +
                                           " refuses: " + more.error().message);
      drop(caller, more.error(), now);
    }
    std::erase_if(callers_, [](const Caller& caller) { return !caller.socket.is_open(); });
    if ((polled[0].revents & POLLIN) != 0) accept_callers(now);
  }
  std::vector<int> sockets;
  for (Rank& rank : ranks_) sockets.push_back(rank.socket.release());
  return sockets;
}

void TcpForming::call_others(Instant now) {
  for (int r = self_.rank + 1; r < self_.world_size; ++r) {
    Rank& rank = ranks_[static_cast<std::size_t>(r)];
    if (rank.socket.is_open() || rank.calling || now < rank.call_again) continue;
    Caller caller;
    caller.phase = Caller::Phase::connecting;
    caller.to = r;
    caller.since = now;
    auto socket = begin_connect(endpoints_[static_cast<std::size_t>(r)]);
    if (!socket) {
      rank.why = socket.error().message;
      rank.call_again = now + kCallAgain;
      continue;
    }
    caller.socket = std::move(*socket);
    rank.calling = true;
    callers_.push_back(std::move(caller));
  }
}

void TcpForming::accept_callers(Instant now) {
  const std::size_t most = static_cast<std::size_t>(self_.world_size) + kStrangersMax;
  while (callers_.size() < most) {
    Caller caller;
    caller.socket = accept_from(listener_);
    if (!caller.socket.is_open()) return;
    caller.since = now;
    callers_.push_back(std::move(caller));
  }
}

Expected<bool> TcpForming::advance(Caller& caller) {
  return caller.to >= 0 ? advance_calling(caller) : advance_called(caller);
}

template <class T>
Expected<bool> TcpForming::take(Caller& caller, T& into) {
  auto* const bytes = reinterpret_cast<std::byte*>(&into);
  const ssize_t count =
      ::recv(caller.socket.get(), bytes + caller.got, sizeof into - caller.got, 0);
  if (count > 0) caller.got += static_cast<std::size_t>(count);
  if (caller.got == sizeof into) return true;
  if (count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR))) return false;
  return fail(Code::Unavailable, count == 0 ? "it closed the connection" : std::strerror(errno));
}

Expected<bool> TcpForming::advance_calling(Caller& caller) {
  if (caller.phase == Caller::Phase::connecting) {
    if (const int error = connect_error(caller.socket.get()))
      return fail(Code::Unavailable, std::strerror(error));
    caller.hello = make_hello(self_, caller.to);
    if (!say(caller.socket.get(), caller.hello))
      return fail(Code::Unavailable, "it takes no greeting");
    caller.phase = Caller::Phase::answer;
    return true;
  }
  WEFT_TRY_ASSIGN(const bool complete, take(caller, caller.answer));
  if (!complete) return true;
  WEFT_TRY(check_answer(self_, caller.hello, caller.answer));
  if (!say(caller.socket.get(), make_proof(self_, caller.hello, caller.answer)))
    return fail(Code::Unavailable, "it takes no proof");
  settle(caller, caller.to);
  return false;
}

Expected<bool> TcpForming::advance_called(Caller& caller) {
  if (caller.phase == Caller::Phase::hello) {
    WEFT_TRY_ASSIGN(const bool complete, take(caller, caller.hello));
    if (!complete) return true;
    WEFT_TRY_ASSIGN(caller.answer, make_answer(self_, caller.hello));
    if (!say(caller.socket.get(), caller.answer))
      return fail(Code::Unavailable, "it takes no answer");
    if (caller.answer.verdict != TcpVerdict::welcome)
      return fail(Code::Corrupt, "it is not of this world");
    caller.phase = Caller::Phase::proof;
    caller.got = 0;
    return true;
  }
  WEFT_TRY_ASSIGN(const bool complete, take(caller, caller.proof));
  if (!complete) return true;
  WEFT_TRY(check_proof(self_, caller.hello, caller.answer, caller.proof));
  if (ranks_[static_cast<std::size_t>(caller.hello.from)].socket.is_open())
    return fail(Code::Corrupt, "it has connected before");
  settle(caller, caller.hello.from);
  return false;
}

void TcpForming::settle(Caller& caller, int rank) {
  Rank& known = ranks_[static_cast<std::size_t>(rank)];
  known.socket = std::move(caller.socket);
  known.calling = false;
  --num_missing_;
}

void TcpForming::drop(Caller& caller, const Error& why, Instant now) {
  caller.socket = Socket();
  if (caller.to < 0) {
    ++num_strangers_;
    return;
  }
  Rank& rank = ranks_[static_cast<std::size_t>(caller.to)];
  rank.calling = false;
  rank.why = why.message;
  rank.call_again = now + kCallAgain;
}

std::string TcpForming::missing() const {
  std::string text;
  int count = 0;
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    if (ranks_[r].socket.is_open() || static_cast<int>(r) == self_.rank) continue;
    if (++count > kNamedMax) continue;
    text += (text.empty() ? "no link to rank " : "; to rank ") + std::to_string(r) + " at " +
            endpoints_[r] + " (" + ranks_[r].why + ")";
  }
  if (count > kNamedMax) text += "; and to " + std::to_string(count - kNamedMax) + " more";
  if (num_strangers_ > 0)
    text += "; " + std::to_string(num_strangers_) + " connections proved nothing and were dropped";
  return text;
}

int TcpForming::missing_rank() const {
  for (std::size_t r = 0; r < ranks_.size(); ++r)
    if (!ranks_[r].socket.is_open() && static_cast<int>(r) != self_.rank)
      return static_cast<int>(r);
  return -1;
}

}  // namespace weft::comm
