#include "comm/local/local_group.h"

#include <algorithm>
#include <chrono>

namespace weft::comm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kSleepMax{50};

}  // namespace

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

MessageMemory LocalCommunicator::message_memory(std::size_t bytes) {
  std::byte* const memory = self_->slab().take(bytes);
  if (memory == nullptr) return heap_message_memory(bytes);
  return {memory, [self = self_, bytes](std::byte* p) { self->slab().give_back(p, bytes); }};
}

std::size_t LocalCommunicator::transport_bytes() const {
  std::size_t bytes = 0;
  for (const Peer& peer : peers_)
    if (peer.out.used()) bytes += peer.out.memory_bytes();
  return bytes;
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
