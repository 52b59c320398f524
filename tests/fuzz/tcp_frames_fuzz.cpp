// Any bytes on a link whose peer has proved itself, in pieces of any size: they are refused, or go
// to the streams of their groups within what was allowed, and from there to receives of any size;
// and any bytes as a greeting, an answer or a proof.
#include <cstring>
#include <memory>
#include <span>

#include "comm/operations.h"
#include "comm/tcp/tcp_handshake.h"
#include "comm/tcp/tcp_stream.h"
#include "tests/fuzz/replay.h"

using namespace weft::comm;

namespace {

constexpr std::size_t kWindow = 4096;
constexpr std::uint32_t kGroups = 2;

/// The receiving side of two groups with one peer, in small: what it is told to place, it places
/// where a sanitizer sees one byte too many.
class Receiver final : public FrameSink {
 public:
  weft::Expected<void> begin(const FrameHeader& header) override {
    if (header.kind == FrameKind::nudge || header.kind == FrameKind::bye) return {};
    if (header.group >= kGroups) return weft::fail(weft::Code::Corrupt, "no such group");
    Group& group = groups_[header.group];
    if (header.kind == FrameKind::data) return group.stream.announce(header.value);
    if (header.kind == FrameKind::credit) return group.stream.credit(header.value);
    group.stream.reset = true;
    return {};
  }
  Bytes place(std::uint32_t index, std::size_t most) override {
    const Bytes place = groups_[index].stream.place(most, groups_[index].receive());
    WEFT_CHECK(!place.empty() && place.size() <= most, "room for all that was allowed");
    return place;
  }
  void placed(std::uint32_t index, std::size_t count) override {
    Group& group = groups_[index];
    group.stream.placed(count, group.receive());
    // Every other message is received at once; the rest wait, up to the window.
    while (group.next % 2 == 0 && !group.over) {
      Operation& op = group.op;
      if (!group.posted) {
        group.buffer = std::make_unique<std::byte[]>(300);
        op = Operation{};
        op.data = group.buffer.get();
        op.length = 300;
        group.posted = true;
      }
      if (!op.begun) {
        if (group.stream.waiting() < sizeof(MessageHeader)) return;
        MessageHeader header;
        group.stream.take(&header, sizeof header);
        group.over =
            header.magic != kMessageMagic || !mismatch(op, header.tag, header.length).empty();
        if (group.over) return;
        op.begun = true;
        op.length = header.length;
      }
      const std::size_t some = std::min(op.length - op.moved, group.stream.waiting());
      group.stream.take(op.data + op.moved, some);
      op.moved += some;
      if (op.moved < op.length) return;
      group.posted = false;
      ++group.next;
      if (group.stream.credit_due()) group.stream.tell();
    }
  }

 private:
  struct Group {
    TcpStream stream{kWindow};
    std::unique_ptr<std::byte[]> buffer;
    Operation op;
    bool posted = false, over = false;
    int next = 0;
    Operation* receive() { return posted && !over && op.moved < op.length ? &op : nullptr; }
  };
  Group groups_[kGroups];
};

void frames(std::span<const std::byte> bytes, std::size_t piece, bool directly) {
  Receiver receiver;
  FrameReader reader(receiver);
  std::vector<std::byte> ahead(piece);
  while (!bytes.empty()) {
    if (!directly) {
      const std::size_t count = std::min(piece, bytes.size());
      if (!reader.feed(bytes.first(count))) return;
      bytes = bytes.subspan(count);
      continue;
    }
    // As a socket would give them.
    const FrameReader::Targets targets = reader.targets(ahead);
    const std::size_t first = std::min(targets.place.size(), bytes.size());
    if (first > 0) std::memcpy(targets.place.data(), bytes.data(), first);
    const std::size_t second = std::min(targets.ahead.size(), bytes.size() - first);
    if (second > 0) std::memcpy(targets.ahead.data(), bytes.data() + first, second);
    WEFT_CHECK(first + second > 0, "a read of nothing");
    if (!reader.took(targets, first + second)) return;
    bytes = bytes.subspan(first + second);
  }
}

void handshake(std::span<const std::byte> bytes) {
  TcpIdentity self;
  self.secret.fill(std::byte{7});
  self.run = run_digest("fuzz");
  self.rank = 1;
  self.world_size = 2;
  TcpHello hello;
  std::memcpy(static_cast<void*>(&hello), bytes.data(), std::min(bytes.size(), sizeof hello));
  if (const auto answer = make_answer(self, hello)) {
    TcpDigest proof{};
    std::memcpy(proof.data(), bytes.data(), std::min(bytes.size(), proof.size()));
    WEFT_CHECK(!check_proof(self, hello, *answer, proof), "a proof by one who knows no secret");
  }
  TcpAnswer answer;
  std::memcpy(static_cast<void*>(&answer), bytes.data(), std::min(bytes.size(), sizeof answer));
  WEFT_CHECK(!check_answer(self, make_hello(self, 0), answer), "an answer by one who knows none");
}

void append(std::string& text, const void* bytes, std::size_t count) {
  text.append(static_cast<const char*>(bytes), count);
}

std::string frame(FrameKind kind, std::uint32_t group, std::uint64_t value) {
  FrameHeader header;
  header.kind = kind;
  header.group = group;
  header.value = value;
  std::string text;
  append(text, &header, sizeof header);
  return text;
}

std::string message(std::uint32_t group, std::uint64_t length, std::uint64_t sequence) {
  const MessageHeader header{kMessageMagic, 0, length, static_cast<std::uint32_t>(sequence)};
  std::string text = frame(FrameKind::data, group, sizeof header + length);
  append(text, &header, sizeof header);
  return text + std::string(length, 'm');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const std::size_t piece = size == 0 ? 1 : 1 + data[size - 1] * 3u;
  frames(bytes, piece, false);
  frames(bytes, piece, true);
  if (size > 0) handshake(bytes);
  return 0;
}

std::vector<std::string> weft::fuzz::seed_inputs() {
  std::vector<std::string> seeds;
  seeds.push_back(message(0, 0, 0) + message(1, 200, 0) + message(0, 300, 1) + message(1, 7, 1));
  seeds.push_back(frame(FrameKind::credit, 0, 0) + frame(FrameKind::nudge, 0, 0) +
                  message(1, 100, 0) + frame(FrameKind::reset, 1, 0) + frame(FrameKind::bye, 0, 0));
  std::string parts = frame(FrameKind::data, 0, 20);
  const MessageHeader header{kMessageMagic, 0, 250, 0};
  append(parts, &header, 20);
  parts += frame(FrameKind::data, 1, 1) + "x" + frame(FrameKind::data, 0, 12 + 250);
  append(parts, reinterpret_cast<const char*>(&header) + 20, 12);
  seeds.push_back(parts + std::string(250, 'p'));
  std::string many;
  for (std::uint64_t i = 0; i < 12; ++i) many += message(0, 290, i);
  seeds.push_back(many);
  seeds.push_back(frame(FrameKind::data, 0, kWindow) + std::string(kWindow, 'w') +
                  frame(FrameKind::data, 0, 1) + "w");
  TcpHello hello;
  hello.run = run_digest("fuzz");
  hello.to = 1;
  std::string greeting;
  append(greeting, &hello, sizeof hello);
  seeds.push_back(greeting + std::string(40, 'h'));
  return seeds;
}
