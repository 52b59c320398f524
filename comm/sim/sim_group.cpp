#include "comm/sim/sim_group.h"

#include <cstring>

namespace weft::comm {
namespace {

Duration later(Duration now, std::chrono::milliseconds bound) {
  return bound >= std::chrono::duration_cast<std::chrono::milliseconds>(Duration::max() - now)
             ? Duration::max()
             : now + bound;
}

}  // namespace

SimCommunicator::SimCommunicator(SimNetwork& network, SimGroup& group, int rank)
    : network_(network),
      turns_(network.turns()),
      group_(group),
      rank_(rank),
      operations_(static_cast<int>(group.spec.ranks.size())) {
  group_.members[static_cast<std::size_t>(rank_)] = this;
}

SimCommunicator::~SimCommunicator() {
  auto& own = group_.members[static_cast<std::size_t>(rank_)];
  if (own == this) own = nullptr;
}

Request SimCommunicator::start_send(int to, Tag tag, ConstBytes data) {
  check_tag(tag);
  const Request request = operations_.start_send(to, tag, data);
  if (fault_) return request;
  if (to == rank_) {
    match_own();
    return request;
  }
  SimChannel& channel = group_.channel(rank_, to);
  channel.messages.push_back({tag, {data.begin(), data.end()}});
  ++channel.num_sent;
  network_.depart(group_, rank_, to);
  return request;
}

Request SimCommunicator::start_receive(int from, Tag tag, Bytes into) {
  check_tag(tag);
  const Request request = operations_.start_receive(from, tag, into);
  if (fault_) return request;
  if (from == rank_) {
    match_own();
    return request;
  }
  ++group_.channel(from, rank_).num_receives;
  network_.depart(group_, from, rank_);
  take_from(from);
  return request;
}

Expected<std::size_t> SimCommunicator::wait(Request request) {
  Operation& op = operations_.at(request);
  const Duration deadline = later(turns_.now(), wait_bound());
  while (!op.done && !fault_) {
    if (op.peer == rank_ && op.is_send) {
      const std::size_t length = op.length;
      operations_.keep_own_send(request);
      return length;
    }
    look_for_fault(op);
    if (fault_) break;
    if (turns_.now() >= deadline) {
      set_fault(op, Code::DeadlineExceeded,
                (op.is_send ? "it took nothing for " : "no answer within ") +
                    std::to_string(wait_bound().count()) + " ms");
      break;
    }
    turns_.wait_until(deadline);
  }
  if (!op.done) return tl::unexpected<Error>(*fault_);
  const std::size_t length = op.length;
  operations_.release(request);
  return length;
}

bool SimCommunicator::test(Request request) {
  const Operation& op = operations_.at(request);
  if (op.done || fault_) return true;
  if (op.peer != rank_) look_for_fault(op);
  if (!fault_) turns_.poll();
  return op.done || fault_;
}

void SimCommunicator::sent_to(int to) {
  if (fault_) return;
  operations_.finish_first_send(to);
  turns_.wake(world_rank(rank_));
}

void SimCommunicator::take_from(int from) {
  SimChannel& channel = group_.channel(from, rank_);
  while (!fault_ && channel.num_taken < channel.num_arrived) {
    Operation* const op = operations_.first_receive(from);
    if (op == nullptr) return;
    const SimMessage& message = channel.messages.front();
    if (const auto why = mismatch(*op, message.tag, message.bytes.size()); !why.empty()) {
      set_fault(*op, Code::Corrupt, why);
    } else {
      if (!message.bytes.empty()) std::memcpy(op->data, message.bytes.data(), message.bytes.size());
      op->length = message.bytes.size();
      operations_.finish_first_receive(from);
      channel.messages.pop_front();
      ++channel.num_taken;
    }
    turns_.wake(world_rank(rank_));
  }
}

void SimCommunicator::match_own() {
  const Operations::OwnMatches own = operations_.match_own(rank_);
  if (own.wrong != nullptr) set_fault(*own.wrong, Code::Corrupt, own.why);
}

void SimCommunicator::look_for_fault(const Operation& op) {
  if (turns_.halted(world_rank(rank_)))
    return set_fault(op, Code::Unavailable, "this rank itself was killed or stopped");
  if (const std::string why = network_.end_reason(group_); !why.empty())
    return set_fault(op, Code::Unavailable, why);
  // Nobody else can move a message from us to ourselves.
  if (op.peer == rank_) return set_fault(op, Code::DeadlineExceeded, "nothing was sent to it");
  if (!turns_.ended(world_rank(op.peer))) return;
  const SimChannel& channel =
      op.is_send ? group_.channel(rank_, op.peer) : group_.channel(op.peer, rank_);
  const bool under_way = op.is_send ? channel.num_out < channel.num_departed
                                    : channel.num_arrived < channel.num_departed;
  if (!under_way) set_fault(op, Code::Unavailable, "that rank has ended");
}

void SimCommunicator::set_fault(const Operation& op, Code code, std::string_view why) {
  if (fault_) return;
  fault_ = operation_error(*this, op, code,
                           std::string(why) + " (world ranks " + std::to_string(world_rank(rank_)) +
                               " and " + std::to_string(world_rank(op.peer)) + ")");
}

}  // namespace weft::comm
