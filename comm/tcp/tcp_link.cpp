#include "comm/tcp/tcp_link.h"

#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace weft::comm {
namespace {

// Taken in before others have their turn.
constexpr std::size_t kTurnBytes = 2 << 20;
constexpr std::size_t kControlBytesMax = 64 << 10;

}  // namespace

TcpLink::TcpLink(int socket, int poller, std::string who)
    : socket_(socket), poller_(poller), who_(std::move(who)) {
  control_.reserve(64 * sizeof(FrameHeader));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = this;
  if (::epoll_ctl(poller_, EPOLL_CTL_ADD, socket_, &event) != 0)
    lose(Code::Io, std::string("cannot be polled: ") + std::strerror(errno));
}

TcpLink::~TcpLink() {
  if (socket_ >= 0) ::close(socket_);
}

void TcpLink::lose(Code code, std::string why) {
  if (over()) return;
  lost_ = Error{code, who_ + " " + std::move(why)};
  if (socket_ >= 0) ::close(socket_);  // no longer polled
  socket_ = -1;
}

void TcpLink::add_stream(std::uint32_t index, TcpStream* stream, StreamOwner* owner, int peer) {
  WEFT_CHECK(index == streams_.size(), "groups are numbered without gaps");
  streams_.push_back({stream, owner, peer, false});
}

Operation* TcpLink::receive_of(const Entry& entry) const {
  return entry.owner->first_receive_from(entry.peer);
}

Expected<void> TcpLink::begin(const FrameHeader& header) {
  if (header.kind == FrameKind::nudge) return {};
  if (header.kind == FrameKind::bye) {
    left_ = true;
    return {};
  }
  if (header.group >= streams_.size() || streams_[header.group].peer < 0)
    return fail(Code::Corrupt, "a frame for group " + std::to_string(header.group) +
                                   ", which the two ranks do not share");
  Entry& entry = streams_[header.group];
  if (entry.ended) return {};
  switch (header.kind) {
    case FrameKind::data:
      return entry.stream->announce(static_cast<std::size_t>(header.value));
    case FrameKind::credit:
      WEFT_TRY(entry.stream->credit(header.value));
      break;
    default:
      entry.stream->reset = true;
  }
  entry.owner->stream_moved(entry.peer);
  return {};
}

Bytes TcpLink::place(std::uint32_t group, std::size_t most) {
  const Entry& entry = streams_[group];
  if (entry.ended) return {};
  return entry.stream->place(most, receive_of(entry));
}

void TcpLink::placed(std::uint32_t group, std::size_t count) {
  const Entry& entry = streams_[group];
  if (entry.ended) return;
  entry.stream->placed(count, receive_of(entry));
  entry.owner->stream_moved(entry.peer);
}

bool TcpLink::read(Bytes scratch) {
  if (socket_ < 0) return false;
  bool moved = false;
  for (std::size_t taken = 0; taken < kTurnBytes && !over();) {
    const FrameReader::Targets targets = reader_.targets(scratch);
    const std::array<iovec, 2> pieces{iovec{targets.place.data(), targets.place.size()},
                                      iovec{targets.ahead.data(), targets.ahead.size()}};
    const std::size_t asked = targets.place.size() + targets.ahead.size();
    const ssize_t count = ::readv(socket_, pieces.data(), 2);
    if (count > 0) {
      moved = true;
      taken += static_cast<std::size_t>(count);
      const auto read = reader_.took(targets, static_cast<std::size_t>(count));
      if (!read) lose(read.error().code, "sent nonsense: " + read.error().message);
      if (static_cast<std::size_t>(count) < asked) break;  // there was no more
      continue;
    }
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) break;
    lose(Code::Unavailable, count == 0 ? "is gone: its process has ended"
                                       : std::string("is gone: ") + std::strerror(errno));
  }
  if (left_ && socket_ >= 0) {
    ::epoll_ctl(poller_, EPOLL_CTL_DEL, socket_, nullptr);
    moved = true;
  }
  return moved || over();
}

std::size_t TcpLink::put(std::span<const ConstBytes> pieces) {
  if (socket_ < 0 || broken_) return 0;
  std::array<iovec, 3> parts{};
  std::size_t count = 0;
  for (const ConstBytes piece : pieces)
    if (!piece.empty()) parts[count++] = {const_cast<std::byte*>(piece.data()), piece.size()};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = count;
  const ssize_t sent = ::sendmsg(socket_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent >= 0) return static_cast<std::size_t>(sent);
  // The peer may have said why before it closed: reading finds out.
  if (errno != EAGAIN && errno != EINTR) broken_ = true;
  return 0;
}

void TcpLink::want_write(bool wanted) {
  if (wanted == wants_write_ || socket_ < 0 || left_) return;
  epoll_event event{};
  event.events = EPOLLIN | (wanted ? EPOLLOUT : 0u);
  event.data.ptr = this;
  ::epoll_ctl(poller_, EPOLL_CTL_MOD, socket_, &event);
  wants_write_ = wanted;
}

bool TcpLink::write() {
  if (over()) return false;
  bool moved = false;
  if (!pending_head_.empty() || !pending_.empty()) {
    const std::array<ConstBytes, 2> pieces{pending_head_, pending_};
    const std::size_t sent = put(pieces);
    moved = sent > 0;
    const std::size_t of_head = std::min(sent, pending_head_.size());
    pending_head_ = pending_head_.subspan(of_head);
    pending_ = pending_.subspan(sent - of_head);
    if (pending_head_.empty() && pending_.empty()) pending_of_ = nullptr;
  }
  if (pending_head_.empty() && pending_.empty() && !control_.empty()) {
    const std::array<ConstBytes, 1> pieces{ConstBytes(control_)};
    const std::size_t sent = put(pieces);
    moved |= sent > 0;
    control_.erase(control_.begin(), control_.begin() + static_cast<std::ptrdiff_t>(sent));
    if (control_.empty()) nudged_ = false;
  }
  want_write(!broken_ && !(pending_head_.empty() && pending_.empty() && control_.empty()));
  return moved;
}

void TcpLink::send(std::uint32_t index, TcpStream& stream, const MessageHeader* header,
                   ConstBytes payload) {
  const std::size_t of_message = header != nullptr ? sizeof *header : 0;
  FrameHeader frame;
  frame.kind = FrameKind::data;
  frame.group = index;
  frame.value = of_message + payload.size();
  std::memcpy(head_.data(), &frame, sizeof frame);
  if (header != nullptr) std::memcpy(head_.data() + sizeof frame, header, sizeof *header);
  stream.sent(of_message + payload.size());
  pending_head_ = ConstBytes(head_).first(sizeof frame + of_message);
  pending_ = payload;
  pending_of_ = &stream;
  write();
}

void TcpLink::control(const FrameHeader& header) {
  if (over()) return;
  if (control_.size() > kControlBytesMax)
    return lose(Code::Unavailable, "takes nothing, not even what is said about it");
  const auto bytes = std::as_bytes(std::span(&header, 1));
  control_.insert(control_.end(), bytes.begin(), bytes.end());
  write();
}

void TcpLink::send_credit(std::uint32_t index, TcpStream& stream) {
  FrameHeader header;
  header.kind = FrameKind::credit;
  header.group = index;
  header.value = stream.tell();
  control(header);
}

void TcpLink::send_nudge() {
  if (nudged_) return;  // one that has not gone yet will do
  nudged_ = true;
  control({});
}

void TcpLink::send_bye() {
  FrameHeader header;
  header.kind = FrameKind::bye;
  control(header);
}

void TcpLink::end_stream(std::uint32_t index, bool give_up) {
  Entry& entry = streams_[index];
  if (entry.peer < 0 || entry.ended) return;
  entry.ended = true;
  if (pending_of_ == entry.stream) {
    // To a peer that is over nothing is written any more, and what was to be is its owner's again.
    kept_.clear();
    if (!over()) kept_.assign(pending_.begin(), pending_.end());
    pending_ = kept_;
    pending_of_ = nullptr;
  }
  if (!give_up) return;
  FrameHeader header;
  header.kind = FrameKind::reset;
  header.group = index;
  control(header);
}

bool TcpLink::delivered() const {
  if (over() || broken_) return true;
  int unsent = 0;
  return control_.empty() && pending_head_.empty() && pending_.empty() &&
         (::ioctl(socket_, SIOCOUTQ, &unsent) != 0 || unsent == 0);
}

}  // namespace weft::comm
