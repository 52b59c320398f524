#include "runtime/worker/virtual_stage.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace weft::runtime {

using dualpipe::Chunk;
using dualpipe::Part;
using dualpipe::Pass;
using dualpipe::Phase;

namespace {

// The identity stands at the begin and at the end of what travels, cut off where there is no room.
template <class Identity>
void stamp(std::span<std::byte> bytes, const Identity& identity) {
  const std::size_t size = std::min(bytes.size(), sizeof(Identity));
  std::memcpy(bytes.data(), identity.data(), size);
  std::memcpy(bytes.data() + bytes.size() - size, identity.data(), size);
}

template <class Identity>
bool is_stamped(std::span<const std::byte> bytes, const Identity& identity) {
  const std::size_t size = std::min(bytes.size(), sizeof(Identity));
  // Short and overlapping stamps: only the last one is whole.
  const bool both = bytes.size() >= 2 * sizeof(Identity);
  return std::memcmp(bytes.data() + bytes.size() - size, identity.data(), size) == 0 &&
         (!both || std::memcmp(bytes.data(), identity.data(), size) == 0);
}

template <class Identity>
std::string text_of(const Identity& identity) {
  std::string text = "(";
  for (std::size_t i = 0; i < identity.size(); ++i)
    text += (i == 0 ? "" : " ") + std::to_string(identity[i]);
  return text + ")";
}

// Between the two stamps of a message: when it left, by the clock that all ranks share.
constexpr std::size_t kLeftAt = 24;
static_assert(2 * kLeftAt + sizeof(Instant) <= kMessageBytesMin);

constexpr std::int32_t kMessage = 0x77656674, kExchange = 0x77656678;  // "weft", "wefx"

}  // namespace

VirtualStage::VirtualStage(const Place& place, const VirtualTimes& times, VirtualDevice& device,
                           comm::Communicator& lanes, InPair in_pair)
    : place_(place),
      times_(times),
      device_(device),
      lanes_(lanes),
      in_pair_(std::move(in_pair)),
      forward_(virtual_phases(times, Pass::Forward)),
      backward_(virtual_phases(times, Pass::Backward)) {
  WEFT_CHECK(times.message_bytes >= kMessageBytesMin);
}

std::span<const Phase> VirtualStage::phases(Pass pass) const {
  return pass == Pass::Forward ? forward_ : backward_;
}

Expected<void> VirtualStage::begin(Pass pass, const Phase& phase, const Chunk& chunk) {
  if (phase.part != Part::Weights && phase == phases(pass).front())
    WEFT_TRY(check_input(pass, chunk));
  const Duration length = length_of(times_, place_.stage, {pass == Pass::Backward, phase});
  if (!dualpipe::communicates(phase)) {
    device_.compute(length);
    return {};
  }
  const auto [place, is_new] = flights_.try_emplace(key(pass, chunk));
  if (!is_new) return fail(Code::Internal, "a second exchange of one pass was begun");
  Flight& flight = place->second;
  if (!landed_.empty()) {
    flight = std::move(landed_.back());
    landed_.pop_back();
  }
  flight.end = device_.begin_exchange(length, in_pair_(pass, chunk));
  start_exchange(flight, pass, phase, chunk);
  return {};
}

Expected<void> VirtualStage::finish(Pass pass, const Phase& phase, const Chunk& chunk) {
  const auto found = flights_.find(key(pass, chunk));
  if (found == flights_.end())
    return fail(Code::Internal, "the end of an exchange that was not begun");
  Flight& flight = found->second;
  const Instant needed = device_.free();
  for (const comm::Request& request : flight.requests) {
    WEFT_TRY_ASSIGN(const std::size_t bytes, lanes_.wait(request));
    (void)bytes;
  }
  flight.requests.clear();
  device_.finish_exchange(needed, flight.end, in_pair_(pass, chunk));
  WEFT_TRY(check_exchange(flight, pass, phase, chunk));
  landed_.push_back(std::move(flight));
  flights_.erase(found);
  return {};
}

std::span<std::byte> VirtualStage::incoming(Pass pass, const Chunk& chunk) {
  std::vector<std::byte>& buffer = incoming_[key(pass, chunk)];
  if (buffer.empty()) buffer = take_buffer();
  std::ranges::fill(buffer, std::byte{0});
  return buffer;
}

std::span<const std::byte> VirtualStage::outgoing(Pass pass, const Chunk& chunk) {
  std::vector<std::byte>& buffer = outgoing_[key(pass, chunk)];
  if (buffer.empty()) buffer = take_buffer();
  const int user = chunk.stage + (pass == Pass::Forward ? 1 : -1);
  stamp(std::span(buffer), message_of(pass, chunk, user));
  const Instant now = device_.now();
  std::memcpy(buffer.data() + kLeftAt, &now, sizeof now);
  return buffer;
}

void VirtualStage::sent(Pass pass, const Chunk& chunk) {
  if (auto buffer = outgoing_.extract(key(pass, chunk)))
    free_.push_back(std::move(buffer.mapped()));
}

VirtualStage::Key VirtualStage::key(Pass pass, const Chunk& chunk) {
  return {pass == Pass::Backward ? 1 : 0, chunk.direction, chunk.stage, chunk.micro_batch};
}

VirtualStage::Identity VirtualStage::message_of(Pass pass, const Chunk& chunk, int user) const {
  return {kMessage,
          pass == Pass::Backward ? 1 : 0,
          user,
          place_.two_directions ? chunk.direction : 0,
          chunk.micro_batch,
          static_cast<std::int32_t>(times_.message_bytes)};
}

VirtualStage::Identity VirtualStage::exchange_of(Pass pass, const Phase& phase, const Chunk& chunk,
                                                 int from) const {
  return {kExchange ^ (pass == Pass::Backward ? 1 << 8 : 0) ^ static_cast<int>(phase.kind) << 16,
          phase.layer,
          chunk.stage,
          chunk.direction,
          chunk.micro_batch,
          from};
}

Expected<void> VirtualStage::check_input(Pass pass, const Chunk& chunk) {
  const bool first = chunk.stage == (pass == Pass::Forward ? 0 : place_.num_stages - 1);
  if (first) return {};
  const char* what = pass == Pass::Forward ? "the activation" : "the gradient";
  auto buffer = incoming_.extract(key(pass, chunk));
  if (!buffer) return fail(Code::Internal, std::string(what) + " was never asked for");
  const Identity wanted = message_of(pass, chunk, chunk.stage);
  if (!is_stamped(std::span<const std::byte>(buffer.mapped()), wanted)) {
    Identity found;
    std::memcpy(found.data(), buffer.mapped().data(), sizeof found);
    return fail(Code::Corrupt, std::string(what) +
                                   " is not this chunk's: (mark, backward, stage, "
                                   "direction, micro-batch, bytes) is " +
                                   text_of(found) + ", expected " + text_of(wanted));
  }
  Instant left{};
  std::memcpy(&left, buffer.mapped().data() + kLeftAt, sizeof left);
  device_.not_before(left);
  free_.push_back(std::move(buffer.mapped()));
  return {};
}

void VirtualStage::start_exchange(Flight& flight, Pass pass, const Phase& phase,
                                  const Chunk& chunk) {
  const auto lanes = static_cast<std::size_t>(lanes_.size());
  const std::size_t bytes = times_.dispatch_bytes;
  if (lanes == 1 || bytes == 0) return;
  flight.out.resize(bytes);
  flight.in.assign(bytes * lanes, std::byte{0});
  stamp(std::span(flight.out), exchange_of(pass, phase, chunk, lanes_.rank()));
  // The order of exchanges is the same on every lane; the tag says which one a message belongs to.
  const comm::Tag tag = static_cast<comm::Tag>(pass == Pass::Backward) |
                        static_cast<comm::Tag>(phase.kind) << 4 |
                        static_cast<comm::Tag>(phase.layer & 0xfff) << 8 |
                        static_cast<comm::Tag>(chunk.direction & 0xf) << 20 |
                        static_cast<comm::Tag>(chunk.stage & 0xfff) << 24 |
                        static_cast<comm::Tag>(chunk.micro_batch & 0x7ffffff) << 36;
  for (int peer = 0; peer < lanes_.size(); ++peer) {
    if (peer == lanes_.rank()) continue;
    const auto part = std::span(flight.in).subspan(bytes * static_cast<std::size_t>(peer), bytes);
    flight.requests.push_back(lanes_.start_receive(peer, tag, part));
    flight.requests.push_back(lanes_.start_send(peer, tag, flight.out));
  }
}

Expected<void> VirtualStage::check_exchange(const Flight& flight, Pass pass, const Phase& phase,
                                            const Chunk& chunk) const {
  const std::size_t bytes = times_.dispatch_bytes;
  if (bytes == 0) return {};
  for (int peer = 0; peer < lanes_.size(); ++peer) {
    if (peer == lanes_.rank()) continue;
    const auto part = std::span<const std::byte>(flight.in).subspan(
        bytes * static_cast<std::size_t>(peer), bytes);
    if (!is_stamped(part, exchange_of(pass, phase, chunk, peer)))
      return fail(Code::Corrupt, "lane " + std::to_string(peer) + " of group '" +
                                     std::string(lanes_.name()) +
                                     "' sent what belongs to another "
                                     "exchange than " +
                                     std::string(dualpipe::to_string(phase.kind)) + " layer " +
                                     std::to_string(phase.layer));
  }
  return {};
}

std::vector<std::byte> VirtualStage::take_buffer() {
  if (free_.empty()) return std::vector<std::byte>(times_.message_bytes);
  std::vector<std::byte> buffer = std::move(free_.back());
  free_.pop_back();
  return buffer;
}

}  // namespace weft::runtime
