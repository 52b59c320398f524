// What goes over a link once both sides have proved themselves: frames. A frame is a header of 16
// bytes and, of a data frame, at most kPieceBytesMax bytes of the stream of one group. Pure: knows
// nothing of sockets. Every byte is input and checked. Internal to comm/tcp.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "comm/communicator.h"

namespace weft::comm {

enum class FrameKind : std::uint8_t {
  data = 1,  // value: bytes that follow
  credit,    // value: bytes of the stream that its reader has used up, since its beginning
  reset,     // what was being sent in this group has been given up
  nudge,     // look at the shared memory
  bye        // leaves in good order; nothing follows
};

struct FrameHeader {
  std::uint16_t magic = kMagic;
  std::uint8_t version = kVersion;
  FrameKind kind = FrameKind::nudge;
  std::uint32_t group = 0;
  std::uint64_t value = 0;

  static constexpr std::uint16_t kMagic = 0x7466, kVersion = 1;
};
static_assert(sizeof(FrameHeader) == 16);
inline constexpr std::size_t kPieceBytesMax = 256 << 10;

/// What is done with frames as they come in.
class FrameSink {
 public:
  virtual ~FrameSink() = default;
  /// A header, checked by itself. A data frame's bytes follow by place() and placed().
  /// Errors: Corrupt, when it does not fit what this side knows; ends the link.
  virtual Expected<void> begin(const FrameHeader& header) = 0;
  /// Where the next at most `most` bytes of the group's stream go; empty: nobody wants them.
  virtual Bytes place(std::uint32_t group, std::size_t most) = 0;
  /// `count` bytes have been written where place() said.
  virtual void placed(std::uint32_t group, std::size_t count) = 0;
};

/// Takes frames apart, however the bytes come. Allocates nothing.
class FrameReader {
 public:
  explicit FrameReader(FrameSink& sink) : sink_(&sink) {}

  /// Where the next bytes are best read to: first what the frame that has begun still lacks (its
  /// final place), then `ahead`, of which little is used in the midst of long messages.
  struct Targets {
    Bytes place, ahead;
  };
  Targets targets(Bytes ahead);
  /// `count` bytes were read to `targets`, in their order. Errors: Corrupt.
  Expected<void> took(const Targets& targets, std::size_t count);
  /// Any bytes, copied to their places. Errors: Corrupt.
  Expected<void> feed(ConstBytes bytes);
  /// In the midst of a frame.
  bool half_way() const { return num_header_ > 0 || left_ > 0; }

 private:
  Expected<void> begin();

  FrameSink* sink_;
  std::array<std::byte, sizeof(FrameHeader)> header_{};
  std::size_t num_header_ = 0;  // of the coming frame, so far
  std::uint32_t group_ = 0;     // of the frame that has begun
  std::size_t left_ = 0;        // of its bytes
  bool long_ = false;
};

/// Errors: Corrupt unless it is a header of this version whose value is within bounds.
Expected<FrameHeader> parse_frame(std::span<const std::byte, sizeof(FrameHeader)> bytes);

}  // namespace weft::comm
