#include "comm/collective_scope.h"
#include "comm/communicator.h"
#include "comm/copy_bytes.h"
#include "comm/exchange/two_hop_line.h"

namespace weft::comm {

MessageMemory heap_message_memory(std::size_t bytes) {
  constexpr std::align_val_t kAlign{64};
  auto* const memory = static_cast<std::byte*>(::operator new(bytes, kAlign));
  return {memory, [kAlign](std::byte* p) { ::operator delete(p, kAlign); }};
}
namespace {

/// Copies unless both sides are the same memory (a rank's own part may lie in place).
void copy_own(const Communicator& group, Bytes out, ConstBytes in) {
  if (in.empty() || out.data() == in.data()) return;
  if (passes_caches(in.size(), group.size()))
    stream_bytes(out.data(), in.data(), in.size());
  else
    copy_bytes(out.data(), in.data(), in.size());
}

/// The peer `step` places after us: every rank starts with another peer, so that no rank is asked
/// by all others at once.
int peer_after(const Communicator& group, int step) { return (group.rank() + step) % group.size(); }
int peer_before(const Communicator& group, int step) {
  return (group.rank() + group.size() - step) % group.size();
}

constexpr std::size_t kTextBytesMax = std::size_t{1} << 30;

tl::unexpected<Error> wrong_length(const Communicator& group, int from, Tag tag, std::size_t found,
                                   std::size_t expected) {
  return fail(Code::Corrupt, "group '" + std::string(group.name()) + "': rank " +
                                 std::to_string(group.rank()) + " got " + std::to_string(found) +
                                 " bytes from rank " + std::to_string(from) + " in " +
                                 describe_tag(tag) + ", expected " + std::to_string(expected));
}

}  // namespace

std::string describe_tag(Tag tag) {
  static constexpr const char* kNames[] = {"barrier",         "broadcast",     "all_gather",
                                           "all_gather_text", "all_reduce",    "reduce",
                                           "all_to_all",      "reduce_scatter"};
  if ((tag & kCollectiveBit) != 0) {
    const auto kind = static_cast<std::size_t>((tag >> 48) & 0x7fff);
    return std::string(kind < std::size(kNames) ? kNames[kind] : "collective") + " #" +
           std::to_string(tag & 0xffff'ffff);
  }
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string digits;
  do {
    digits.insert(digits.begin(), kDigits[tag & 15]);
    tag >>= 4;
  } while (tag != 0);
  return "tag 0x" + digits;
}

CollectiveScope::CollectiveScope(Communicator& group, Collective kind)
    : group_(group),
      tag_(kCollectiveBit | Tag{static_cast<std::uint8_t>(kind)} << 48 |
           (group.collective_count_++ & 0xffff'ffff)) {
  WEFT_CHECK(TwoHopLine::idle(group), "a collective in a group with an open two-hop exchange");
  ++group_.collective_depth_;
  group_.pending_.clear();
}

void CollectiveScope::start_send(int to, ConstBytes data) {
  group_.pending_.push_back({group_.start_send(to, tag_, data), -1, data.size()});
}

void CollectiveScope::start_receive(int from, Bytes into) {
  group_.pending_.push_back({group_.start_receive(from, tag_, into), from, into.size()});
}

Expected<void> CollectiveScope::wait_all() {
  for (const Communicator::Pending& pending : group_.pending_) {
    WEFT_TRY_ASSIGN(const std::size_t length, group_.wait(pending.request));
    if (pending.from >= 0 && length != pending.length)
      return wrong_length(group_, pending.from, tag_, length, pending.length);
  }
  group_.pending_.clear();
  return {};
}

Expected<void> send(Communicator& group, int to, Tag tag, ConstBytes data) {
  WEFT_TRY(group.wait(group.start_send(to, tag, data)));
  return {};
}

Expected<std::size_t> receive(Communicator& group, int from, Tag tag, Bytes into) {
  return group.wait(group.start_receive(from, tag, into));
}

/// Dissemination: after round k everybody has heard, directly or not, of 2^k ranks.
Expected<void> barrier(Communicator& group) {
  CollectiveScope scope(group, Collective::barrier);
  for (int step = 1; step < group.size(); step *= 2) {
    scope.start_receive(peer_before(group, step), {});
    scope.start_send(peer_after(group, step), {});
    WEFT_TRY(scope.wait_all());
  }
  return {};
}

/// Binomial tree over ranks counted from the root.
Expected<void> broadcast(Communicator& group, int root, Bytes data) {
  CollectiveScope scope(group, Collective::broadcast);
  const int n = group.size();
  const int place = (group.rank() - root + n) % n;
  int step = 1;
  while (step < n && (place & step) == 0) step *= 2;
  if (place != 0) {
    scope.start_receive((place - step + root) % n, data);
    WEFT_TRY(scope.wait_all());
  }
  for (step /= 2; step > 0; step /= 2)
    if (place + step < n) scope.start_send((place + step + root) % n, data);
  return scope.wait_all();
}

Expected<void> all_gather(Communicator& group, ConstBytes mine, Bytes out) {
  const std::size_t part = mine.size();
  WEFT_CHECK(out.size() == part * static_cast<std::size_t>(group.size()),
             "all_gather: out must hold one part a rank");
  CollectiveScope scope(group, Collective::all_gather);
  for (int step = 1; step < group.size(); ++step) {
    const int from = peer_before(group, step);
    scope.start_receive(from, out.subspan(static_cast<std::size_t>(from) * part, part));
  }
  for (int step = 1; step < group.size(); ++step) scope.start_send(peer_after(group, step), mine);
  copy_own(group, out.subspan(static_cast<std::size_t>(group.rank()) * part, part), mine);
  return scope.wait_all();
}

Expected<std::vector<std::string>> all_gather_text(Communicator& group, std::string_view mine) {
  const auto n = static_cast<std::size_t>(group.size());
  const auto own = static_cast<std::size_t>(group.rank());
  std::vector<std::uint64_t> lengths(n);
  lengths[own] = mine.size();
  WEFT_TRY(all_gather(group, std::as_bytes(std::span(&lengths[own], 1)),
                      std::as_writable_bytes(std::span(lengths))));
  std::vector<std::string> texts(n);
  texts[own] = mine;
  CollectiveScope scope(group, Collective::all_gather_text);
  for (int step = 1; step < group.size(); ++step) {
    const int from = peer_before(group, step);
    const std::uint64_t length = lengths[static_cast<std::size_t>(from)];
    if (length > kTextBytesMax)
      return fail(Code::Corrupt, "group '" + std::string(group.name()) + "': rank " +
                                     std::to_string(from) + " announces a text of " +
                                     std::to_string(length) + " bytes");
    std::string& text = texts[static_cast<std::size_t>(from)];
    text.resize(length);
    scope.start_receive(from, std::as_writable_bytes(std::span(text)));
  }
  for (int step = 1; step < group.size(); ++step)
    scope.start_send(peer_after(group, step), std::as_bytes(std::span(mine)));
  WEFT_TRY(scope.wait_all());
  return texts;
}

Expected<void> all_to_all_v(Communicator& group, ConstBytes in,
                            std::span<const std::size_t> in_lengths, Bytes out,
                            std::span<const std::size_t> out_lengths) {
  const int n = group.size();
  WEFT_CHECK(in_lengths.size() == static_cast<std::size_t>(n) &&
                 out_lengths.size() == static_cast<std::size_t>(n),
             "all_to_all_v: one length a rank");
  CollectiveScope scope(group, Collective::all_to_all);
  const auto part = [](auto bytes, std::span<const std::size_t> lengths, int index) {
    std::size_t begin = 0;
    for (int r = 0; r < index; ++r) begin += lengths[static_cast<std::size_t>(r)];
    WEFT_CHECK(begin + lengths[static_cast<std::size_t>(index)] <= bytes.size(),
               "all_to_all_v: the lengths add up to more than the buffer");
    return bytes.subspan(begin, lengths[static_cast<std::size_t>(index)]);
  };
  for (int step = 1; step < n; ++step) {
    const int from = peer_before(group, step);
    scope.start_receive(from, part(out, out_lengths, from));
  }
  for (int step = 1; step < n; ++step) {
    const int to = peer_after(group, step);
    scope.start_send(to, part(in, in_lengths, to));
  }
  const Bytes own_out = part(out, out_lengths, group.rank());
  const ConstBytes own_in = part(in, in_lengths, group.rank());
  WEFT_CHECK(own_in.size() == own_out.size(), "all_to_all_v: a rank's own lengths differ");
  copy_own(group, own_out, own_in);
  return scope.wait_all();
}

}  // namespace weft::comm
