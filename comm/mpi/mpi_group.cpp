#include "comm/mpi/mpi_group.h"

#include <algorithm>
#include <cstring>

namespace weft::comm {
namespace {

constexpr std::uint64_t kMagic = 0x6970'6d74'66657725;  // "%weftmpi"

}  // namespace

MpiCommunicator::MpiCommunicator(std::shared_ptr<MpiWorld> world, GroupSpec spec, int rank,
                                 int index)
    : world_(std::move(world)),
      spec_(std::move(spec)),
      rank_(rank),
      header_tag_(2 * index),
      payload_tag_(2 * index + 1),
      peers_(spec_.ranks.size()),
      operations_(static_cast<int>(spec_.ranks.size())) {
  world_->members.push_back(this);
}

MpiCommunicator::~MpiCommunicator() {
  drop_requests();
  std::erase(world_->members, this);
}

Request MpiCommunicator::start_send(int to, Tag tag, ConstBytes data) {
  check_tag(tag);
  const Request request = operations_.start_send(to, tag, data);
  if (to != rank_ && !fault_ && !world_->ended) post(operations_.at(request), peer(to));
  return request;
}

Request MpiCommunicator::start_receive(int from, Tag tag, Bytes into) {
  check_tag(tag);
  return operations_.start_receive(from, tag, into);
}

Expected<std::size_t> MpiCommunicator::wait(Request request) {
  Operation& op = operations_.at(request);
  MpiPatience patience(wait_bound());
  while (!op.done && !fault_) {
    const bool moved = world_->progress();
    if (world_->ended) take_world_fault(op);
    if (op.done || fault_) break;
    if (moved)
      patience.reset();
    else if (give_up(op, request, patience))
      break;
  }
  if (!op.done && !op.orphan) return tl::unexpected<Error>(*fault_);
  const std::size_t length = op.length;
  if (op.done) operations_.release(request);
  return length;
}

bool MpiCommunicator::give_up(Operation& op, Request request, MpiPatience& patience) {
  if (op.peer == rank_) {
    // Nobody else can move a message from us to ourselves.
    if (op.is_send)
      operations_.keep_own_send(request);
    else
      set_fault(op, Code::DeadlineExceeded, "nothing was sent to it");
    return true;
  }
  if (patience.step()) return false;
  set_fault(op, Code::DeadlineExceeded,
            (op.is_send ? "it took nothing for " : "no answer within ") +
                std::to_string(wait_bound().count()) + " ms");
  return true;
}

bool MpiCommunicator::test(Request request) {
  const Operation& op = operations_.at(request);
  if (!op.done && !fault_) world_->progress();
  if (!op.done && world_->ended) take_world_fault(op);
  return op.done || fault_.has_value();
}

bool MpiCommunicator::progress() {
  if (fault_) return false;
  bool moved = false;
  for (int rank = 0; rank < size() && !fault_; ++rank) {
    if (rank == rank_) {
      moved |= match_own();
      continue;
    }
    if (operations_.first_send(rank) != nullptr) moved |= finish_sends(rank);
    if (!fault_ && operations_.first_receive(rank) != nullptr) moved |= pull(rank);
  }
  return moved;
}

bool MpiCommunicator::match_own() {
  const Operations::OwnMatches own = operations_.match_own(rank_);
  if (own.wrong != nullptr) set_fault(*own.wrong, Code::Corrupt, own.why);
  return own.moved;
}

/// Gives MPI the whole message at once: it goes on by itself as far as MPI can.
void MpiCommunicator::post(const Operation& op, Peer& peer) {
  Sent& sent = peer.sent.emplace_back();
  sent.staging = new_staging();
  const bool inlined = op.length <= kInlineMax;
  const MpiHeader header{kMagic, op.tag, op.length, peer.num_sent++};
  std::byte* const bytes = sent.staging->bytes.data();
  std::memcpy(bytes, &header, sizeof header);
  if (inlined && op.length > 0) std::memcpy(bytes + sizeof header, op.data, op.length);
  const auto give = [&](const std::byte* data, std::size_t length, int tag) {
    sent.requests.push_back(nullptr);
    const int code =
        world_->api.send(data, length, world_rank(op.peer), tag, &sent.requests.back());
    if (code != 0) set_fault(op, Code::Unavailable, world_->describe(code));
  };
  give(bytes, sizeof header + (inlined ? op.length : 0), header_tag_);
  const std::size_t piece = world_->options.piece_bytes_max;
  for (std::size_t at = 0; !inlined && at < op.length && !fault_; at += piece)
    give(op.data + at, std::min(piece, op.length - at), payload_tag_);
}

bool MpiCommunicator::finish_sends(int to) {
  Peer& peer = this->peer(to);
  bool moved = false;
  while (Operation* const op = operations_.first_send(to)) {
    std::size_t ignored = 0;
    if (!all_done(peer.sent.front().requests, *op, ignored)) break;
    spare_.push_back(std::move(peer.sent.front().staging));
    peer.sent.pop_front();
    operations_.finish_first_send(to);
    moved = true;
  }
  return moved;
}

bool MpiCommunicator::pull(int from) {
  Peer& peer = this->peer(from);
  bool moved = false;
  while (Operation* const op = operations_.first_receive(from)) {
    if (!op->begun && !begin_receive(*op, peer)) break;
    moved = true;
    if (fault_ || !all_done(peer.pieces, *op, op->moved)) break;
    peer.pieces.clear();
    if (op->moved != op->length) {
      set_fault(*op, Code::Corrupt,
                "only " + std::to_string(op->moved) + " bytes of " + std::to_string(op->length) +
                    " arrived (do all ranks have the same piece_bytes_max?)");
      break;
    }
    operations_.finish_first_receive(from);
  }
  return moved;
}

bool MpiCommunicator::begin_receive(Operation& op, Peer& peer) {
  if (peer.header == nullptr) {
    if (!peer.staging) peer.staging = new_staging();
    const int code = world_->api.receive(peer.staging->bytes.data(), peer.staging->bytes.size(),
                                         world_rank(op.peer), header_tag_, &peer.header);
    if (code != 0) set_fault(op, Code::Unavailable, world_->describe(code));
    if (fault_) return true;
  }
  int done = 0;
  std::size_t bytes = 0;
  if (const int code = world_->api.test(&peer.header, &done, &bytes); code != 0)
    set_fault(op, Code::Unavailable, world_->describe(code));
  else if (done != 0)
    accept(op, peer, bytes);
  return fault_ || done != 0;
}

/// A header has come: what a peer sent is input and checked.
void MpiCommunicator::accept(Operation& op, Peer& peer, std::size_t bytes) {
  MpiHeader header{};
  const std::byte* const begin = peer.staging->bytes.data();
  if (bytes >= sizeof header) std::memcpy(&header, begin, sizeof header);
  const bool inlined = header.length <= kInlineMax;
  if (header.magic != kMagic || header.sequence != peer.num_received ||
      bytes != sizeof header + (inlined ? header.length : 0))
    return set_fault(
        op, Code::Corrupt,
        "no message header where message #" + std::to_string(peer.num_received) + " should begin");
  if (const std::string why = mismatch(op, header.tag, header.length); !why.empty())
    return set_fault(op, Code::Corrupt, why);
  ++peer.num_received;
  op.length = header.length;
  op.begun = true;
  if (inlined) {
    if (op.length > 0) std::memcpy(op.data, begin + sizeof header, op.length);
    op.moved = op.length;
    return;
  }
  const std::size_t piece = world_->options.piece_bytes_max;
  for (std::size_t at = 0; at < op.length && !fault_; at += piece) {
    peer.pieces.push_back(nullptr);
    const int code = world_->api.receive(op.data + at, std::min(piece, op.length - at),
                                         world_rank(op.peer), payload_tag_, &peer.pieces.back());
    if (code != 0) set_fault(op, Code::Unavailable, world_->describe(code));
  }
}

bool MpiCommunicator::all_done(std::vector<void*>& requests, const Operation& op,
                               std::size_t& moved) {
  bool all = true;
  for (void*& request : requests) {
    if (request == nullptr) continue;
    int done = 0;
    std::size_t bytes = 0;
    if (const int code = world_->api.test(&request, &done, &bytes)) {
      set_fault(op, Code::Unavailable, world_->describe(code));
      return false;
    }
    all &= done != 0;
    moved += bytes;
  }
  return all;
}

void MpiCommunicator::take_world_fault(const Operation& op) {
  if (!fault_)
    fault_ = operation_error(*this, op, Code::Unavailable,
                             "this process's MPI was ended: " + *world_->ended);
}

void MpiCommunicator::set_fault(const Operation& op, Code code, std::string_view why) {
  if (fault_) return;
  fault_ = operation_error(*this, op, code,
                           std::string(why) + " (world ranks " + std::to_string(world_->rank) +
                               " and " + std::to_string(world_rank(op.peer)) + ")");
  drop_requests();
}

void MpiCommunicator::drop_requests() {
  if (world_->ended) return;
  bool half_way = false;
  const auto drop = [&](void*& request, bool is_receive) {
    int done = 0;
    std::size_t bytes = 0;
    if (request != nullptr) {
      if (is_receive)
        world_->api.cancel(&request, &done);
      else
        world_->api.test(&request, &done, &bytes);
    }
    return request == nullptr;
  };
  for (Peer& peer : peers_) {
    if (!drop(peer.header, true)) (void)peer.staging.release();  // MPI may still write there
    for (void*& piece : peer.pieces) half_way |= !drop(piece, true);
    for (Sent& sent : peer.sent) {
      if (!drop(sent.requests.front(), false)) (void)sent.staging.release();
      for (std::size_t i = 1; i < sent.requests.size(); ++i)
        half_way |= !drop(sent.requests[i], false);
    }
    peer.pieces.clear();
    peer.sent.clear();
    peer.header = nullptr;
  }
  if (half_way)
    world_->ended = fault_ ? fault_->message : "group '" + spec_.name + "' ended in mid-message";
}

std::unique_ptr<MpiCommunicator::Staging> MpiCommunicator::new_staging() {
  if (spare_.empty()) return std::make_unique<Staging>();
  auto staging = std::move(spare_.back());
  spare_.pop_back();
  return staging;
}

}  // namespace weft::comm
