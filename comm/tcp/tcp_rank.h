// What all groups of one rank share: its links, and how it waits for them. Internal to comm/tcp.
#pragma once

#include <memory>
#include <vector>

#include "comm/local/local_group.h"
#include "comm/tcp/tcp_link.h"

namespace weft::comm {

class TcpCommunicator;

/// Threads: that of its rank.
class TcpRank final : public FarLinks {
 public:
  /// sockets[r]: to world rank r, connected; -1 for ourselves. Errors: Io.
  static Expected<std::shared_ptr<TcpRank>> create(std::shared_ptr<LocalRank> near, int world_rank,
                                                   std::vector<int> sockets,
                                                   const std::vector<std::string>& endpoints);
  /// Says goodbye, and waits a little until the others' hosts have all that was sent.
  ~TcpRank() override;
  TcpRank(const TcpRank&) = delete;
  TcpRank& operator=(const TcpRank&) = delete;

  bool progress() override;
  void sleep(Duration longest) override;
  void nudge(int world_rank) override;

  int world_rank() const { return world_rank_; }
  int world_size() const { return static_cast<int>(links_.size()); }
  const std::shared_ptr<LocalRank>& near() const { return near_; }
  /// Null: ourselves.
  TcpLink* link(int world_rank) const { return links_[static_cast<std::size_t>(world_rank)].get(); }

  /// The first that was gone while it was needed, or -1.
  int lost_rank() const { return lost_rank_; }
  void miss(int world_rank) {
    if (lost_rank_ < 0) lost_rank_ = world_rank;
  }

  void add(TcpCommunicator* group) { groups_.push_back(group); }
  void remove(TcpCommunicator* group) { std::erase(groups_, group); }

 private:
  TcpRank(std::shared_ptr<LocalRank> near, int world_rank, int poller);
  /// Tells the groups of links that are over.
  void tell(const TcpLink& link);

  std::shared_ptr<LocalRank> near_;
  int world_rank_;
  int poller_;
  int lost_rank_ = -1;
  std::vector<std::unique_ptr<TcpLink>> links_;
  std::vector<TcpCommunicator*> groups_;
  std::vector<std::byte> scratch_;
};

}  // namespace weft::comm
