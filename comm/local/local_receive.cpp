// How a message arrives: out of the peer's ring, or fetched from where the peer has it. What a peer
// has written there is input.
#include <algorithm>

#include "comm/local/local_group.h"

namespace weft::comm {
namespace {

constexpr std::uint64_t kMessageBytesMax = std::uint64_t{1} << 40;

}  // namespace

bool LocalCommunicator::pull(int from) {
  Peer& peer = peers_[static_cast<std::size_t>(from)];
  bool moved = false;
  std::size_t freed = 0;  // since the writer was last told
  while (Operation* const op = operations_.first_receive(from)) {
    if (!op->begun && !begin_receive(*op, peer)) break;
    const std::size_t left = op->length - op->moved;
    if (left > 0) {
      std::size_t ready = 0;
      if (!peer.in.ready(std::min(round_up_to_unit(left), kPieceBytes), ready)) {
        set_fault(*op, Code::Corrupt, "its write position in shared memory is nonsense");
        break;
      }
      const std::size_t piece = std::min({left, ready, kPieceBytes});
      if (piece == 0) break;
      if (passes_caches(op->length, size()))
        peer.in.read(op->data + op->moved, piece, stream_bytes);
      else
        peer.in.read(op->data + op->moved, piece, copy_bytes);
      op->moved += piece;
    }
    if (op->moved == op->length && !finish_receive(*op)) break;
    if (const std::size_t piece = peer.in.unpublished(); piece >= kPieceBytes) {
      peer.in.publish();
      moved = true;
      freed += piece;
      if (freed < ring_capacity_ / 2) continue;  // a sleeping writer is worth waking for much
      ring(peer);
      freed = 0;
    }
  }
  moved |= peer.in.publish();
  if (moved) ring(peer);
  return moved;
}

bool LocalCommunicator::begin_receive(Operation& op, Peer& peer) {
  RingReader& in = peer.in;
  std::size_t ready = 0;
  if (!in.ready(kRingUnit, ready)) {
    set_fault(op, Code::Corrupt, "its write position in shared memory is nonsense");
    return false;
  }
  if (ready < kRingUnit) return false;
  MessageHeader header;
  in.read(reinterpret_cast<std::byte*>(&header), sizeof header, copy_bytes);
  const bool in_slab = header.magic == kSlabMagic;
  const bool direct = in_slab || header.magic == kDirectMagic;
  if ((header.magic != kMessageMagic && !direct) ||
      header.sequence != static_cast<std::uint32_t>(in.sequence) ||
      header.length > kMessageBytesMax) {
    set_fault(op, Code::Corrupt,
              "no message header where message #" + std::to_string(in.sequence) + " should begin");
    return false;
  }
  if (const std::string why = mismatch(op, header.tag, header.length); !why.empty()) {
    set_fault(op, Code::Corrupt, why);
    return false;
  }
  ++in.sequence;
  op.length = header.length;
  op.check = header.check;
  op.begun = true;
  return !direct || fetch(op, peer, in_slab);
}

bool LocalCommunicator::finish_receive(Operation& op) {
  if (op.length > 0 && take_change()) op.data[op.length / 2] ^= std::byte{4};
  if (op.check != 0 && message_check({op.data, op.length}) != op.check) {
    set_fault(op, Code::Corrupt,
              "a message of " + std::to_string(op.length) + " bytes changed on its way");
    return false;
  }
  operations_.finish_first_receive(op.peer);
  return true;
}

// The sender waits for `fetched_one`, and withdraws before it lets go of the bytes for any other
// reason: what was read before a look that finds nothing withdrawn is what it sent.
bool LocalCommunicator::fetch(Operation& op, Peer& peer, bool in_slab) {
  std::size_t ready = 0;
  if (!peer.in.ready(kRingUnit, ready) || ready < kRingUnit) {
    set_fault(op, Code::Corrupt, "a message that does not say where it lies");
    return false;
  }
  DirectPlace place;
  peer.in.read(reinterpret_cast<std::byte*>(&place), sizeof place, copy_bytes);
  Expected<void> copied;
  if (!peer.in.withdrawn())
    copied = in_slab ? read_slab(op, place.address) : read_process(op, *peer.card, place.address);
  if (peer.in.withdrawn()) {
    set_fault(op, Code::Unavailable, "it has given up what it was sending");
    return false;
  }
  if (!copied) {
    set_fault(op, copied.error().code, copied.error().message);
    return false;
  }
  op.moved = op.length;
  peer.in.fetched_one();
  ring(peer);
  return true;
}

Expected<void> LocalCommunicator::read_slab(const Operation& op, std::uint64_t offset) const {
  const LocalWorld::Mapping& world = self_->world();
  const std::uint64_t begin =
      world.slab_offset(members_[static_cast<std::size_t>(op.peer)].near_rank);
  const std::uint64_t bytes = world.slab_bytes();
  if (offset < begin || offset - begin > bytes || op.length > bytes - (offset - begin))
    return fail(Code::Corrupt,
                "a message that is said to lie outside its sender's part of the shared memory");
  if (passes_caches(op.length, size()))
    stream_bytes(op.data, world.memory + offset, op.length);
  else
    copy_bytes(op.data, world.memory + offset, op.length);
  return {};
}

Expected<void> LocalCommunicator::read_process(const Operation& op, const RankCard& card,
                                               std::uint64_t address) {
  const std::string why = read_directly(card, address, op.data, op.length);
  if (!why.empty()) return fail(Code::Unavailable, why);
  return {};
}

}  // namespace weft::comm
