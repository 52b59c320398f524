#include "comm/local/local_group.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace weft::comm {
namespace {

using std::chrono::milliseconds;

// From here on a receiver fetches a message itself: the ring's second copy then costs more than the
// kernel's walk over the pages.
constexpr std::size_t kDirectBytes = 256 << 10;
// What is written or freed at once: the other side starts on it while we go on.
constexpr std::size_t kPieceBytes = 64 << 10;
constexpr std::uint64_t kMessageBytesMax = std::uint64_t{1} << 40;
constexpr milliseconds kSleepMax{50};

}  // namespace

bool LocalRank::progress() {
  bool moved = far_ != nullptr && far_->progress();
  for (LocalCommunicator* const group : groups_) moved |= group->progress();
  return moved;
}

unsigned usable_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  return static_cast<unsigned>(CPU_COUNT(&allowed));
}

void LocalRank::write_card(RankCard& card) {
  card.pid = static_cast<std::uint32_t>(::getpid());
  card.nonce_address = reinterpret_cast<std::uint64_t>(&nonce_);
  card.nonce = nonce_;
  const RankCard& creator = world_->header().creator;
  std::byte byte{};
  const bool allowed = read_directly(creator, creator.nonce_address, &byte, 1).empty();
  card.reads_others.store(allowed ? 1 : 0, std::memory_order_seq_cst);
}

LocalCommunicator::LocalCommunicator(std::shared_ptr<LocalRank> self, std::string name,
                                     std::vector<GroupMember> members, int rank,
                                     std::uint64_t offset)
    : self_(std::move(self)),
      name_(std::move(name)),
      members_(std::move(members)),
      rank_(rank),
      operations_(static_cast<int>(members_.size())) {
  const auto num_near = std::count_if(members_.begin(), members_.end(),
                                      [](const GroupMember& m) { return m.near_rank >= 0; });
  const GroupRegion region(static_cast<std::size_t>(num_near));
  ring_capacity_ = region.ring_capacity;
  WorldHeader& header = self_->world().header();
  std::byte* const memory = self_->world().memory + offset;
  const int place = members_[static_cast<std::size_t>(rank_)].place;
  for (const GroupMember& member : members_)
    if (member.near_rank < 0)
      peers_.push_back({{}, {}, nullptr, nullptr, -1});
    else
      peers_.push_back(
          {RingWriter(memory + region.ring_offset(place, member.place), region.ring_capacity),
           RingReader(memory + region.ring_offset(member.place, place), region.ring_capacity),
           &header.bells[member.near_rank], &header.cards[member.near_rank], member.world_rank});
  self_->add(this);
}

LocalCommunicator::~LocalCommunicator() {
  if (operations_.any_send()) withdraw();
  self_->remove(this);
}

void LocalCommunicator::withdraw() {
  for (Peer& peer : peers_)
    if (peer.bell != nullptr) peer.out.withdraw();
}

Request LocalCommunicator::start_send(int to, Tag tag, ConstBytes data) {
  check_tag(tag);
  const Request request = operations_.start_send(to, tag, data);
  if (to == rank_ || fault_) return request;
  const bool near = peers_[static_cast<std::size_t>(to)].bell != nullptr;
  near ? push(to) : push_far(to);  // the peer need not wait until we wait
  return request;
}

Request LocalCommunicator::start_receive(int from, Tag tag, Bytes into) {
  check_tag(tag);
  return operations_.start_receive(from, tag, into);
}

Expected<std::size_t> LocalCommunicator::wait(Request request) {
  Operation& op = operations_.at(request);
  if (!op.done) wait_until_done(op, request);
  if (!op.done && !op.orphan) return tl::unexpected<Error>(*fault_);
  const std::size_t length = op.length;
  if (op.done) operations_.release(request);
  return length;
}

bool LocalCommunicator::test(Request request) {
  const Operation& op = operations_.at(request);
  if (!op.done) self_->progress();
  return op.done || fault_ || lost_;
}

void LocalCommunicator::wait_until_done(const Operation& op, Request request) {
  const LocalWorld::Mapping& world = self_->world();
  Patience& patience = self_->patience();
  patience.renew();
  std::optional<Instant> deadline;
  while (!fault_) {
    if (self_->progress()) patience.renew();
    if (op.done || fault_) return;
    if (world.aborted()) {
      set_fault(op, Code::Unavailable, "the group was ended: " + world.abort_reason());
      return;
    }
    if (lost_) return set_fault(op, lost_->code, lost_->message);
    if (op.peer == rank_) {
      // Nobody else can move a message from us to ourselves.
      if (op.is_send) return operations_.keep_own_send(request);
      return set_fault(op, Code::DeadlineExceeded, "nothing was sent to it");
    }
    if (patience.wait_briefly()) continue;
    const Instant now = std::chrono::steady_clock::now();
    if (!deadline) deadline = now + wait_bound();
    if (now >= *deadline) {
      set_fault(op, Code::DeadlineExceeded,
                (op.is_send ? "it took nothing for " : "no answer within ") +
                    std::to_string(wait_bound().count()) + " ms");
      return;
    }
    self_->sleep(std::min<Duration>(kSleepMax, *deadline - now),
                 [&] { return self_->progress() || fault_ || lost_ || world.aborted(); });
  }
}

bool LocalCommunicator::progress() {
  if (fault_ || !(operations_.any_send() || operations_.any_receive())) return false;
  bool moved = false;
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank_) {
      moved |= progress_own();
      continue;
    }
    const bool near = peers_[static_cast<std::size_t>(peer)].bell != nullptr;
    if (operations_.first_send(peer) != nullptr) moved |= near ? push(peer) : push_far(peer);
    if (operations_.first_receive(peer) != nullptr) moved |= near ? pull(peer) : pull_far(peer);
  }
  return moved;
}

bool LocalCommunicator::progress_own() {
  const Operations::OwnMatches own = operations_.match_own(rank_);
  if (own.wrong != nullptr) set_fault(*own.wrong, Code::Corrupt, own.why);
  return own.moved;
}

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

MessageMemory LocalCommunicator::message_memory(std::size_t bytes) {
  std::byte* const memory = self_->slab().take(bytes);
  if (memory == nullptr) return heap_message_memory(bytes);
  return {memory, [self = self_, bytes](std::byte* p) { self->slab().give_back(p, bytes); }};
}

void LocalCommunicator::set_fault(const Operation& op, Code code, std::string_view why) {
  if (fault_) return;
  withdraw();
  withdraw_far();
  const auto world_rank = [this](int r) {
    return std::to_string(members_[static_cast<std::size_t>(r)].world_rank);
  };
  fault_ = operation_error(*this, op, code,
                           std::string(why) + " (world ranks " + world_rank(rank_) + " and " +
                               world_rank(op.peer) + ")");
}

}  // namespace weft::comm
