#include "comm/operations.h"

#include <cstring>

namespace weft::comm {

Request Operations::start_send(int to, Tag tag, ConstBytes data) {
  WEFT_CHECK(to >= 0 && to < static_cast<int>(sends_.size()), "send to a rank outside the group");
  ++num_sends_;
  Operation op;
  op.is_send = true;
  op.peer = to;
  op.tag = tag;
  op.data = const_cast<std::byte*>(data.data());
  op.length = data.size();
  return start(sends_[to], std::move(op));
}

Request Operations::start_receive(int from, Tag tag, Bytes into) {
  WEFT_CHECK(from >= 0 && from < static_cast<int>(receives_.size()),
             "receive from a rank outside the group");
  ++num_receives_;
  Operation op;
  op.peer = from;
  op.tag = tag;
  op.data = into.data();
  op.length = into.size();
  return start(receives_[from], std::move(op));
}

Request Operations::start(Queue& queue, Operation&& filled) {
  int index = free_;
  if (index < 0) {
    index = static_cast<int>(table_.size());
    table_.emplace_back();
  }
  Operation& slot = table_[static_cast<std::size_t>(index)];
  if (free_ >= 0) free_ = slot.next;
  filled.kept.swap(slot.kept);  // keep its capacity
  slot = std::move(filled);
  if (queue.last >= 0)
    table_[static_cast<std::size_t>(queue.last)].next = index;
  else
    queue.first = index;
  queue.last = index;
  return Request{index};
}

Operation& Operations::at(Request request) {
  WEFT_CHECK(request.index >= 0 && request.index < static_cast<int>(table_.size()),
             "no such request");
  return table_[static_cast<std::size_t>(request.index)];
}

void Operations::finish_first(Queue& queue) {
  const int index = queue.first;
  Operation& op = table_[static_cast<std::size_t>(index)];
  queue.first = op.next;
  if (queue.first < 0) queue.last = -1;
  op.next = -1;
  op.done = true;
  --(op.is_send ? num_sends_ : num_receives_);
  if (op.orphan) free_slot(index);
}

void Operations::release(Request request) {
  WEFT_CHECK(at(request).done, "a request is waited on once");
  free_slot(request.index);
}

void Operations::free_slot(int index) {
  Operation& op = table_[static_cast<std::size_t>(index)];
  op.done = false;
  op.next = free_;
  free_ = index;
}

Operations::OwnMatches Operations::match_own(int rank) {
  for (OwnMatches result;; result.moved = true) {
    Operation* const send = first_send(rank);
    Operation* const receive = first_receive(rank);
    if (send == nullptr || receive == nullptr) return result;
    result.why = mismatch(*receive, send->tag, send->length);
    if (!result.why.empty()) {
      result.wrong = receive;
      return result;
    }
    if (send->length > 0) std::memcpy(receive->data, send->data, send->length);
    receive->length = send->length;
    finish_first_send(rank);
    finish_first_receive(rank);
  }
}

void Operations::keep_own_send(Request request) {
  Operation& op = at(request);
  op.kept.assign(op.data, op.data + op.length);
  op.data = op.kept.data();
  op.orphan = true;
}

std::string mismatch(const Operation& receive, Tag found_tag, std::size_t found_length) {
  if (found_tag != receive.tag)
    return "found " + describe_tag(found_tag) + " of " + std::to_string(found_length) +
           " bytes where " + describe_tag(receive.tag) +
           " was expected (the two ranks are at different actions)";
  if (found_length > receive.length)
    return "the message has " + std::to_string(found_length) + " bytes, the buffer only " +
           std::to_string(receive.length);
  return {};
}

Error operation_error(const Communicator& group, const Operation& operation, Code code,
                      std::string_view why) {
  std::string text = "group '" + std::string(group.name()) + "': rank " +
                     std::to_string(group.rank()) +
                     (operation.is_send ? " sending to rank " : " receiving from rank ") +
                     std::to_string(operation.peer) + ", " + describe_tag(operation.tag) + ", " +
                     std::to_string(operation.length) + " bytes";
  if (!group.serving().empty()) text += ", for " + std::string(group.serving());
  return Error{code, text + ": " + std::string(why)};
}

}  // namespace weft::comm
