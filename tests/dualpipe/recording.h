// A ring in memory with its recorder, for tests.
#pragma once

#include <atomic>
#include <vector>

#include "dualpipe/recorder.h"
#include "dualpipe/ring.h"

namespace weft::dualpipe {

class MemoryRing {
 public:
  explicit MemoryRing(const RingSize& size, const RingInfo& info = default_info())
      : words_(ring_bytes(size) / 8, 0), recorder_(bytes(), size, info) {}

  static RingInfo default_info() {
    RingInfo info;
    info.ranks = info.micro_batches = info.chunks = 1;
    return info;
  }

  StepRecorder& recorder() { return recorder_; }
  std::span<std::byte> bytes() { return std::as_writable_bytes(std::span(words_)); }

  /// As another process would copy it while the recorder is at work.
  std::vector<std::uint64_t> snapshot() {
    std::vector<std::uint64_t> copy(words_.size());
    for (std::size_t i = 0; i < copy.size(); ++i)
      copy[i] = std::atomic_ref(words_[i]).load(std::memory_order_acquire);
    return copy;
  }
  Expected<RankRecording> read() {
    const auto ring = snapshot(), later = snapshot();
    return read_ring(std::as_bytes(std::span(ring)), std::as_bytes(std::span(later)));
  }

 private:
  std::vector<std::uint64_t> words_;
  StepRecorder recorder_;
};

}  // namespace weft::dualpipe
