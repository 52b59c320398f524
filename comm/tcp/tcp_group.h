// One rank's end of a group whose members are on several nodes: those of our node by shared memory,
// as in a local world, the others by TCP. Internal to comm/tcp.
#pragma once

#include <memory>
#include <vector>

#include "comm/tcp/tcp_rank.h"

namespace weft::comm {

class TcpCommunicator final : public LocalCommunicator, private StreamOwner {
 public:
  /// `index` of the group in the world; `offset` of its region in this node's shared memory.
  TcpCommunicator(std::shared_ptr<TcpRank> rank, std::string name, std::vector<GroupMember> members,
                  int own, std::uint64_t offset, std::uint32_t index);
  ~TcpCommunicator() override;

  /// The rank of the world is gone, and with it the group, if it is a member.
  void lose(int world_rank, const Error& why);

 private:
  bool push_far(int to) override;
  bool pull_far(int from) override;
  void withdraw_far() override { end_streams(); }

  Operation* first_receive_from(int peer) override;
  void stream_moved(int peer) override { pull_far(peer); }

  TcpStream& stream(int peer) { return *streams_[static_cast<std::size_t>(peer)]; }
  TcpLink& link(int peer) const {
    return *rank_->link(members()[static_cast<std::size_t>(peer)].world_rank);
  }
  void send_piece(Operation& op, TcpStream& to, TcpLink& by);
  bool begin_receive(Operation& op, TcpStream& from);
  void miss(const Operation& op);
  void end_streams();

  std::shared_ptr<TcpRank> rank_;
  std::uint32_t index_;
  std::vector<std::unique_ptr<TcpStream>> streams_;  // by rank of the group; null: near
};

}  // namespace weft::comm
