// How a message leaves: through the peer's ring, or, when it is long, as the place where it lies.
#include <algorithm>

#include "comm/local/local_group.h"

namespace weft::comm {
namespace {

// From here on a receiver fetches a message itself: the ring's second copy then costs more than the
// kernel's walk over the pages.
constexpr std::size_t kDirectBytes = 256 << 10;

}  // namespace

bool LocalCommunicator::push(int to) {
  Peer& peer = peers_[static_cast<std::size_t>(to)];
  bool moved = false;
  while (Operation* const op = operations_.first_send(to)) {
    if (goes_directly(*op, peer)) {
      if (!op->begun && !point_at(*op, peer)) break;
      const std::uint64_t fetched = peer.out.fetched();
      if (fetched > peer.out.num_direct) {
        set_fault(*op, Code::Corrupt, "it says it has fetched what was never sent");
        break;
      }
      if (fetched < peer.out.num_direct) break;
      operations_.finish_first_send(to);
      moved = true;
      continue;
    }
    const std::size_t left = op->length - op->moved;
    std::size_t room = 0;
    if (!peer.out.room(left + kRingUnit, room)) {
      set_fault(*op, Code::Corrupt, "its read position in shared memory is nonsense");
      break;
    }
    if (!op->begun) {
      if (room < kRingUnit) break;
      const MessageHeader header{kMessageMagic, op->tag, op->length,
                                 static_cast<std::uint32_t>(peer.out.sequence++),
                                 self_->check_of(*op)};
      peer.out.write(&header, sizeof header);
      op->begun = true;
      room -= kRingUnit;
    }
    if (left > 0) {
      const std::size_t piece = std::min({left, room, kPieceBytes});
      if (piece == 0) break;
      peer.out.write(op->data + op->moved, piece);
      op->moved += piece;
    }
    if (op->moved == op->length) operations_.finish_first_send(to);
    if (peer.out.unpublished() >= kPieceBytes) {
      peer.out.publish();
      ring(peer);
      moved = true;
    }
  }
  if (peer.out.publish()) {
    ring(peer);
    moved = true;
  }
  return moved;
}

bool LocalCommunicator::goes_directly(const Operation& op, const Peer& peer) const {
  if (op.begun) return op.direct;
  return op.length >= kDirectBytes &&
         (self_->slab().holds(op.data) ||
          peer.card->reads_others.load(std::memory_order_seq_cst) == 1);
}

bool LocalCommunicator::point_at(Operation& op, Peer& peer) {
  std::size_t room = 0;
  if (!peer.out.room(2 * kRingUnit, room)) {
    set_fault(op, Code::Corrupt, "its read position in shared memory is nonsense");
    return false;
  }
  if (room < 2 * kRingUnit) return false;
  const bool in_slab = self_->slab().holds(op.data);
  const MessageHeader header{in_slab ? kSlabMagic : kDirectMagic, op.tag, op.length,
                             static_cast<std::uint32_t>(peer.out.sequence++), self_->check_of(op)};
  const DirectPlace place{in_slab ? static_cast<std::uint64_t>(op.data - self_->world().memory)
                                  : reinterpret_cast<std::uint64_t>(op.data),
                          {}};
  peer.out.write(&header, sizeof header);
  peer.out.write(&place, sizeof place);
  op.begun = op.direct = true;
  ++peer.out.num_direct;
  return true;
}

}  // namespace weft::comm
