// A stage that computes nothing: the executor runs it like any other, its phases take given times
// on a virtual device, and what travels is real and checked.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <vector>

#include "comm/communicator.h"
#include "dualpipe/stage.h"
#include "runtime/worker/virtual_device.h"
#include "runtime/worker/virtual_times.h"

namespace weft::runtime {

/// Every message says whose it is, at its begin and at its end, so that a mix-up is seen: an
/// activation or gradient (pass, the stage that uses it, direction, micro-batch), a dispatch or
/// combine (pass, phase, layer, sender, and its own stage's chunk).
/// Threads: one. Errors of begin, beside those of the communicators: Corrupt when what came is not
/// what this chunk needs (says both).
class VirtualStage final : public dualpipe::Stage {
 public:
  struct Place {
    int stage = 0;
    int num_stages = 1;
    bool two_directions = false;  // DualPipe: directions are flows of their own, not legs of a V
  };
  /// Is this pass of the chunk half of an overlapped pair? For the tally only.
  using InPair = std::function<bool(dualpipe::Pass, const dualpipe::Chunk&)>;

  /// `lanes`: the ranks that exchange; watched by `device`. References outlive the stage.
  VirtualStage(const Place& place, const VirtualTimes& times, VirtualDevice& device,
               comm::Communicator& lanes, InPair in_pair);

  std::span<const dualpipe::Phase> phases(dualpipe::Pass pass) const override;
  Expected<void> begin(dualpipe::Pass pass, const dualpipe::Phase& phase,
                       const dualpipe::Chunk& chunk) override;
  Expected<void> finish(dualpipe::Pass pass, const dualpipe::Phase& phase,
                        const dualpipe::Chunk& chunk) override;
  std::span<std::byte> incoming(dualpipe::Pass pass, const dualpipe::Chunk& chunk) override;
  std::span<const std::byte> outgoing(dualpipe::Pass pass, const dualpipe::Chunk& chunk) override;
  void sent(dualpipe::Pass pass, const dualpipe::Chunk& chunk) override;
  std::size_t exchanged_bytes(dualpipe::Pass, const dualpipe::Phase&,
                              const dualpipe::Chunk&) const override {
    return times_.dispatch_bytes * static_cast<std::size_t>(lanes_.size());
  }

 private:
  /// What a message says of itself.
  using Identity = std::array<std::int32_t, 6>;
  struct Flight {
    Instant end{};  // of its time on the wire
    std::vector<std::byte> out, in;
    std::vector<comm::Request> requests;
  };
  using Key = std::array<int, 4>;  // pass, direction, stage, micro-batch

  static Key key(dualpipe::Pass pass, const dualpipe::Chunk& chunk);
  Identity message_of(dualpipe::Pass pass, const dualpipe::Chunk& chunk, int user) const;
  Identity exchange_of(dualpipe::Pass pass, const dualpipe::Phase& phase,
                       const dualpipe::Chunk& chunk, int from) const;
  Expected<void> check_input(dualpipe::Pass pass, const dualpipe::Chunk& chunk);
  Expected<void> check_exchange(const Flight& flight, dualpipe::Pass pass,
                                const dualpipe::Phase& phase, const dualpipe::Chunk& chunk) const;
  void start_exchange(Flight& flight, dualpipe::Pass pass, const dualpipe::Phase& phase,
                      const dualpipe::Chunk& chunk);
  std::vector<std::byte> take_buffer();

  Place place_;
  const VirtualTimes& times_;
  VirtualDevice& device_;
  comm::Communicator& lanes_;
  InPair in_pair_;
  std::vector<dualpipe::Phase> forward_, backward_;
  std::map<Key, std::vector<std::byte>> incoming_, outgoing_;
  std::map<Key, Flight> flights_;             // under way
  std::vector<Flight> landed_;                // whose buffers can be used again
  std::vector<std::vector<std::byte>> free_;  // message buffers to be used again
};

}  // namespace weft::runtime
