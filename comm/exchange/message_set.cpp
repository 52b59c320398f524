#include "comm/exchange/message_set.h"

#include <algorithm>

namespace weft::comm {

MessageSet::MessageSet(Communicator& group, std::vector<int> ranks)
    : group_(group), ranks_(std::move(ranks)), messages_(ranks_.size()) {
  const auto own = std::find(ranks_.begin(), ranks_.end(), group.rank());
  WEFT_CHECK(own != ranks_.end(), "messages of a list that this rank is not in");
  own_ = static_cast<int>(own - ranks_.begin());
}

std::byte* MessageSet::write(int i, std::size_t bytes) {
  Message& message = messages_[static_cast<std::size_t>(i)];
  message.out_bytes = bytes;
  return message.out.at_least(bytes, group_);
}

// Everybody begins with its neighbour, so that nobody is the first target of all.
void MessageSet::start(Tag tag) {
  const int n = size();
  for (int step = 1; step < n; ++step) {
    const int from = (own_ + n - step) % n;
    Message& message = messages_[static_cast<std::size_t>(from)];
    std::byte* const into = message.in.at_least(message.in_bytes);
    message.receive = group_.start_receive(rank(from), tag, {into, message.in_bytes});
  }
  for (int step = 1; step < n; ++step) {
    const int to = (own_ + step) % n;
    Message& message = messages_[static_cast<std::size_t>(to)];
    message.send = group_.start_send(rank(to), tag, {message.out.data(), message.out_bytes});
  }
}

bool MessageSet::arrived() {
  for (int i = 0; i < size(); ++i)
    if (i != own_ && !group_.test(messages_[static_cast<std::size_t>(i)].receive)) return false;
  return true;
}

Expected<void> MessageSet::receive(bool exact) {
  for (int i = 0; i < size(); ++i) {
    if (i == own_) continue;
    Message& message = messages_[static_cast<std::size_t>(i)];
    WEFT_TRY_ASSIGN(const std::size_t length, group_.wait(message.receive));
    if (exact && length != message.in_bytes)
      return corrupt_from(group_, rank(i),
                          "a message of " + std::to_string(length) + " bytes where " +
                              std::to_string(message.in_bytes) + " follow from the dispatch");
    message.in_bytes = length;
  }
  return {};
}

ConstBytes MessageSet::from(int i) const {
  const Message& message = messages_[static_cast<std::size_t>(i)];
  return i == own_ ? ConstBytes{message.out.data(), message.out_bytes}
                   : ConstBytes{message.in.data(), message.in_bytes};
}

Expected<void> MessageSet::finish_sends() {
  for (int i = 0; i < size(); ++i)
    if (i != own_) WEFT_TRY(group_.wait(messages_[static_cast<std::size_t>(i)].send));
  return {};
}

std::size_t MessageSet::memory_bytes() const {
  std::size_t bytes = 0;
  for (const Message& message : messages_) bytes += message.out.capacity() + message.in.capacity();
  return bytes;
}

tl::unexpected<Error> corrupt_from(const Communicator& group, int from, const std::string& why) {
  std::string text = "group '" + std::string(group.name()) + "': rank " +
                     std::to_string(group.rank()) + " got from rank " + std::to_string(from);
  if (!group.serving().empty()) text += ", for " + std::string(group.serving());
  return fail(Code::Corrupt, text + ": " + why);
}

}  // namespace weft::comm
