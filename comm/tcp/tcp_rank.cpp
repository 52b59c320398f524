#include "comm/tcp/tcp_rank.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "comm/tcp/tcp_group.h"

namespace weft::comm {
namespace {

constexpr std::size_t kScratchBytes = 64 << 10;
constexpr int kEventsMax = 64;
// What was sent has reached the other host by then, or it will not.
constexpr std::chrono::seconds kGoodbye{1};

}  // namespace

Expected<std::shared_ptr<TcpRank>> TcpRank::create(std::shared_ptr<LocalRank> near, int world_rank,
                                                   std::vector<int> sockets,
                                                   const std::vector<std::string>& endpoints) {
  const int poller = ::epoll_create1(EPOLL_CLOEXEC);
  if (poller < 0) {
    for (const int socket : sockets)
      if (socket >= 0) ::close(socket);
    return fail(Code::Io, std::string("cannot poll sockets: ") + std::strerror(errno));
  }
  std::shared_ptr<TcpRank> self(new TcpRank(std::move(near), world_rank, poller));
  for (std::size_t r = 0; r < sockets.size(); ++r)
    self->links_.push_back(
        sockets[r] < 0
            ? nullptr
            : std::make_unique<TcpLink>(sockets[r], poller,
                                        "world rank " + std::to_string(r) + " at " + endpoints[r]));
  return self;
}

TcpRank::TcpRank(std::shared_ptr<LocalRank> near, int world_rank, int poller)
    : near_(std::move(near)), world_rank_(world_rank), poller_(poller), scratch_(kScratchBytes) {
  near_->set_far(this);
}

TcpRank::~TcpRank() {
  near_->set_far(nullptr);
  for (const auto& link : links_)
    if (link) link->send_bye();
  const auto deadline = std::chrono::steady_clock::now() + kGoodbye;
  for (;;) {
    bool all = true;
    for (const auto& link : links_) {
      if (!link || link->delivered()) continue;
      link->read(scratch_);  // or closing it would take back what is under way
      link->write();
      all &= link->delivered();
    }
    if (all || near_->world().aborted() || std::chrono::steady_clock::now() > deadline) break;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  links_.clear();
  ::close(poller_);
}

bool TcpRank::progress() {
  std::array<epoll_event, kEventsMax> events;
  const int count = ::epoll_wait(poller_, events.data(), kEventsMax, 0);
  bool moved = false;
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    auto* const link = static_cast<TcpLink*>(event.data.ptr);
    if ((event.events & EPOLLOUT) != 0) moved |= link->write();
    if ((event.events & ~static_cast<std::uint32_t>(EPOLLOUT)) == 0) continue;
    moved |= link->read(scratch_);
    if (link->over()) tell(*link);
  }
  return moved;
}

void TcpRank::tell(const TcpLink& link) {
  if (!link.lost()) return;  // who left in good order is missed by those who still expect something
  for (int rank = 0; rank < world_size(); ++rank) {
    if (this->link(rank) != &link) continue;
    miss(rank);
    for (TcpCommunicator* const group : groups_) group->lose(rank, *link.lost());
  }
}

void TcpRank::sleep(Duration longest) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(longest).count();
  epoll_event event;
  ::epoll_wait(poller_, &event, 1, static_cast<int>(ms));  // taken in by the next progress()
}

void TcpRank::nudge(int world_rank) {
  if (TcpLink* const to = link(world_rank)) to->send_nudge();
}

}  // namespace weft::comm
