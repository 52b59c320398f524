#include "comm/tcp/tcp_frame.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

namespace weft::comm {

static_assert(std::endian::native == std::endian::little, "frames are sent as they lie in memory");

Expected<FrameHeader> parse_frame(std::span<const std::byte, sizeof(FrameHeader)> bytes) {
  FrameHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != FrameHeader::kMagic)
    return fail(Code::Corrupt, "no frame where one should begin");
  if (header.version != FrameHeader::kVersion)
    return fail(Code::Corrupt, "a frame of version " + std::to_string(header.version) +
                                   ", this build knows " + std::to_string(FrameHeader::kVersion));
  const auto out_of_bounds = [&header] {
    return fail(Code::Corrupt, "a frame of kind " + std::to_string(static_cast<int>(header.kind)) +
                                   " with the value " + std::to_string(header.value));
  };
  switch (header.kind) {
    case FrameKind::data:
      if (header.value == 0 || header.value > kPieceBytesMax) return out_of_bounds();
      return header;
    case FrameKind::credit:
      return header;
    case FrameKind::reset:
    case FrameKind::nudge:
    case FrameKind::bye:
      if (header.value != 0) return out_of_bounds();
      return header;
  }
  return out_of_bounds();
}

Expected<void> FrameReader::begin() {
  num_header_ = 0;
  WEFT_TRY_ASSIGN(const FrameHeader header, parse_frame(header_));
  WEFT_TRY(sink_->begin(header));
  if (header.kind != FrameKind::data) return {};
  group_ = header.group;
  left_ = static_cast<std::size_t>(header.value);
  long_ = left_ == kPieceBytesMax;
  return {};
}

// Behind the frame of a long message comes most likely another: only its header is read ahead, so
// that its bytes can be read to their place without a copy.
FrameReader::Targets FrameReader::targets(Bytes ahead) {
  Targets targets;
  if (left_ > 0) targets.place = sink_->place(group_, left_);
  targets.ahead = ahead;
  if (!long_) return targets;
  if (left_ == 0)
    targets.ahead = ahead.first(std::min(ahead.size(), sizeof(FrameHeader) - num_header_));
  else if (targets.place.size() == left_)
    targets.ahead = ahead.first(std::min(ahead.size(), sizeof(FrameHeader)));
  return targets;
}

Expected<void> FrameReader::took(const Targets& targets, std::size_t count) {
  const std::size_t at_place = std::min(count, targets.place.size());
  if (at_place > 0) {
    left_ -= at_place;
    sink_->placed(group_, at_place);
  }
  return feed(targets.ahead.first(count - at_place));
}

Expected<void> FrameReader::feed(ConstBytes bytes) {
  while (!bytes.empty()) {
    if (left_ > 0) {
      const Bytes place = sink_->place(group_, std::min(left_, bytes.size()));
      const std::size_t count =
          std::min({left_, bytes.size(), place.empty() ? bytes.size() : place.size()});
      left_ -= count;
      if (!place.empty()) {
        std::memcpy(place.data(), bytes.data(), count);
        sink_->placed(group_, count);
      }
      bytes = bytes.subspan(count);
      continue;
    }
    const std::size_t count = std::min(sizeof(FrameHeader) - num_header_, bytes.size());
    std::memcpy(header_.data() + num_header_, bytes.data(), count);
    num_header_ += count;
    bytes = bytes.subspan(count);
    if (num_header_ == sizeof(FrameHeader)) WEFT_TRY(begin());
  }
  return {};
}

}  // namespace weft::comm
