#include "comm/tcp/tcp_group.h"

#include <algorithm>

namespace weft::comm {
namespace {

constexpr std::uint64_t kMessageBytesMax = std::uint64_t{1} << 40;

/// What is left of a message fits the window.
bool fits(const Operation& op, const TcpStream& out) {
  return op.length - op.moved + (op.begun ? 0 : sizeof(MessageHeader)) <= out.room();
}

}  // namespace

TcpCommunicator::TcpCommunicator(std::shared_ptr<TcpRank> rank, std::string name,
                                 std::vector<GroupMember> members, int own, std::uint64_t offset,
                                 std::uint32_t index)
    : LocalCommunicator(rank->near(), std::move(name), std::move(members), own, offset),
      rank_(std::move(rank)),
      index_(index),
      streams_(this->members().size()) {
  for (int world_rank = 0; world_rank < rank_->world_size(); ++world_rank) {
    TcpLink* const link = rank_->link(world_rank);
    if (link == nullptr) continue;
    const auto member = std::find_if(
        this->members().begin(), this->members().end(),
        [&](const GroupMember& m) { return m.world_rank == world_rank && m.near_rank < 0; });
    if (member == this->members().end()) {
      link->add_stream(index_, nullptr, nullptr, -1);
      continue;
    }
    const auto peer = static_cast<std::size_t>(member - this->members().begin());
    streams_[peer] = std::make_unique<TcpStream>(stream_window(streams_.size()));
    link->add_stream(index_, streams_[peer].get(), this, static_cast<int>(peer));
  }
  rank_->add(this);
  for (const GroupMember& member : this->members())
    if (const TcpLink* const link = rank_->link(member.world_rank); link && link->lost())
      lose(member.world_rank, *link->lost());
}

TcpCommunicator::~TcpCommunicator() {
  end_streams();
  rank_->remove(this);
}

void TcpCommunicator::end_streams() {
  for (int peer = 0; peer < size(); ++peer) {
    if (streams_[static_cast<std::size_t>(peer)] == nullptr) continue;
    const Operation* const op = operations().first_send(peer);
    link(peer).end_stream(index_, op != nullptr && op->begun && op->moved < op->length);
  }
}

void TcpCommunicator::lose(int world_rank, const Error& why) {
  for (int peer = 0; peer < size(); ++peer)
    if (members()[static_cast<std::size_t>(peer)].world_rank == world_rank)
      set_lost(why.code, "rank " + std::to_string(peer) + " (" + why.message + ")");
}

Operation* TcpCommunicator::first_receive_from(int peer) {
  return failed() ? nullptr : operations().first_receive(peer);
}

/// A peer that is over will neither take nor send what `op` wants.
void TcpCommunicator::miss(const Operation& op) {
  const TcpLink& by = link(op.peer);
  rank_->miss(members()[static_cast<std::size_t>(op.peer)].world_rank);
  if (by.lost())
    set_fault(op, by.lost()->code, by.lost()->message);
  else
    set_fault(op, Code::Unavailable, by.who() + " has left the world");
}

bool TcpCommunicator::push_far(int to) {
  TcpLink& by = link(to);
  TcpStream& out = stream(to);
  bool moved = false;
  while (!failed()) {
    Operation* const op = operations().first_send(to);
    if (op == nullptr) break;
    if (by.left() && fits(*op, out)) {
      // It would have been under way when the peer left, had we come earlier.
      out.sent(op->length - op->moved);
      op->moved = op->length;
      op->begun = true;
    } else if (by.over()) {
      miss(*op);
      break;
    }
    if (op->begun && op->moved == op->length) {
      if (by.holds(out) && !by.over()) break;
      operations().finish_first_send(to);
      moved = true;
      continue;
    }
    const std::size_t needed = op->begun ? 1 : sizeof(MessageHeader);
    if (!by.idle() || out.room() < needed) break;
    send_piece(*op, out, by);
    moved = true;
  }
  return moved;
}

void TcpCommunicator::send_piece(Operation& op, TcpStream& to, TcpLink& by) {
  const std::size_t of_header = op.begun ? 0 : sizeof(MessageHeader);
  const std::size_t room = std::min(to.room(), kPieceBytesMax) - of_header;
  const std::size_t count = std::min(op.length - op.moved, room);
  const ConstBytes payload(op.data + op.moved, count);
  op.moved += count;
  if (op.begun) return by.send(index_, to, nullptr, payload);
  op.begun = true;
  const MessageHeader header{kMessageMagic, op.tag, op.length, to.next_out++};
  by.send(index_, to, &header, payload);
}

bool TcpCommunicator::pull_far(int from) {
  TcpLink& by = link(from);
  TcpStream& in = stream(from);
  bool moved = false;
  while (!failed()) {
    Operation* const op = operations().first_receive(from);
    if (op == nullptr) break;
    if (!op->begun && !begin_receive(*op, in)) break;
    const std::size_t count = std::min(op->length - op->moved, in.waiting());
    if (count > 0) in.take(op->data + op->moved, count);
    op->moved += count;
    moved |= count > 0;
    if (op->moved < op->length) break;
    operations().finish_first_receive(from);
    moved = true;
  }
  if (failed()) return true;
  if (in.credit_due()) by.send_credit(index_, in);
  const Operation* const op = operations().first_receive(from);
  if (op == nullptr || in.waiting() >= sizeof(MessageHeader)) return moved;
  if (in.reset)
    set_fault(*op, Code::Unavailable, "it has given up what it was sending");
  else if (by.over())
    miss(*op);
  return moved;
}

bool TcpCommunicator::begin_receive(Operation& op, TcpStream& from) {
  if (from.waiting() < sizeof(MessageHeader)) return false;
  MessageHeader header;
  from.take(&header, sizeof header);
  if (header.magic != kMessageMagic || header.sequence != from.next_in ||
      header.length > kMessageBytesMax) {
    set_fault(op, Code::Corrupt,
              "no message header where message #" + std::to_string(from.next_in) + " should begin");
    return false;
  }
  if (const std::string why = mismatch(op, header.tag, header.length); !why.empty()) {
    set_fault(op, Code::Corrupt, why);
    return false;
  }
  ++from.next_in;
  op.length = static_cast<std::size_t>(header.length);
  op.begun = true;
  return true;
}

}  // namespace weft::comm
