#include "dualpipe/trace.h"

#include <algorithm>
#include <cmath>

#include "dualpipe/chrome_writer.h"
#include "dualpipe/flow.h"

namespace weft::dualpipe {
namespace {

constexpr int kComputeTrack = 0, kMessageTrack = 1;

/// The actions that make and use activations (index 0) and gradients (1), by chunk.
class Ends {
 public:
  Ends(const Schedule& schedule, const Timeline& times) : flow_(schedule) {
    for (auto* ends : {&makes_[0], &makes_[1]})
      ends->resize(static_cast<std::size_t>(flow_.size()));
    for (std::size_t rank = 0; rank < schedule.programs.size(); ++rank)
      for (std::size_t i = 0; i < schedule.programs[rank].size(); ++i) {
        const Action& action = schedule.programs[rank][i];
        const Slot& slot = times.slots[rank][i];
        if (action.op == Op::F || action.op == Op::FB) at(false, action.chunk) = slot;
        if (action.op == Op::B || action.op == Op::BI) at(true, action.chunk) = slot;
        if (action.op == Op::FB) at(true, action.other) = slot;
      }
  }
  const Slot& maker(const Transfer& transfer) const {
    return get(gradient(transfer), transfer.chunk);
  }
  const Slot& user(const Transfer& transfer) const {
    const bool back = gradient(transfer);
    const auto next = back ? flow_.before(transfer.chunk) : flow_.after(transfer.chunk);
    return get(back, next ? *next : transfer.chunk);
  }

 private:
  static bool gradient(const Transfer& transfer) { return transfer.op == Op::SendB; }
  Slot& at(bool back, const Chunk& chunk) {
    return makes_[back][static_cast<std::size_t>(flow_.id(chunk))];
  }
  const Slot& get(bool back, const Chunk& chunk) const {
    return makes_[back][static_cast<std::size_t>(flow_.id(chunk))];
  }

  Flow flow_;
  std::vector<Slot> makes_[2];
};

class Predicted {
 public:
  Predicted(ChromeWriter& writer, double unit_us, int first_process, std::int64_t begin_ns)
      : writer_(writer), unit_us_(unit_us), first_(first_process), begin_ns_(begin_ns) {}

  void rank(int rank, const std::vector<Action>& program, const std::vector<Slot>& slots) {
    for (std::size_t i = 0; i < program.size(); ++i) {
      const Action& action = program[i];
      if (!is_compute(action.op) || !slots[i].ran) continue;
      Arguments arguments = arguments_of(action.chunk);
      if (action.op == Op::FB) {
        arguments.push_back({"backward_direction", std::int64_t{action.other.direction}});
        arguments.push_back({"backward_stage", std::int64_t{action.other.stage}});
        arguments.push_back({"backward_micro_batch", std::int64_t{action.other.micro_batch}});
      }
      writer_.slice({first_ + rank, kComputeTrack, describe(action), to_string(action.op),
                     ns(slots[i].begin), ns(slots[i].end)},
                    arguments);
    }
  }

  /// Messages in flight overlap where there is latency, so they lie side by side. The arrow goes
  /// from the end of the slice that made the message to the beginning of the one that uses it.
  void messages(std::vector<Transfer> transfers, const Ends& ends, int ranks) {
    std::ranges::stable_sort(transfers, {}, &Transfer::begin);
    std::vector<SideBySide> tracks(static_cast<std::size_t>(ranks));
    for (const Transfer& transfer : transfers) {
      const std::int64_t begin = ns(transfer.begin), end = ns(transfer.end);
      const int track =
          kMessageTrack + tracks[static_cast<std::size_t>(transfer.from)].place(begin, end);
      Arguments arguments = arguments_of(transfer.chunk);
      arguments.push_back({"peer", std::int64_t{transfer.to}});
      writer_.slice({first_ + transfer.from, track,
                     std::string(to_string(transfer.op)) + " " + describe(transfer.chunk),
                     "message", begin, end},
                    arguments);
      const Slot& maker = ends.maker(transfer);
      writer_.arrow(first_ + transfer.from, kComputeTrack,
                    std::max(ns(maker.begin), ns(maker.end) - 1), first_ + transfer.to,
                    kComputeTrack, ns(ends.user(transfer).begin));
    }
    for (int rank = 0; rank < ranks; ++rank)
      for (int i = 0; i < std::max(1, tracks[static_cast<std::size_t>(rank)].tracks()); ++i)
        writer_.track(first_ + rank, kMessageTrack + i,
                      i == 0 ? "messages" : "messages " + std::to_string(i + 1));
  }

 private:
  static Arguments arguments_of(const Chunk& chunk) {
    return {{"direction", std::int64_t{chunk.direction}},
            {"stage", std::int64_t{chunk.stage}},
            {"micro_batch", std::int64_t{chunk.micro_batch}}};
  }
  std::int64_t ns(double time) const {
    return begin_ns_ + std::llround(std::min(time * unit_us_ * 1000, 1e18));
  }

  ChromeWriter& writer_;
  double unit_us_;
  int first_;
  std::int64_t begin_ns_;
};

}  // namespace

void write_predicted(ChromeWriter& writer, const Schedule& schedule, const Timeline& times,
                     double unit_us, const std::string& what, int first_process,
                     std::int64_t begin_ns) {
  Predicted predicted(writer, unit_us, first_process, begin_ns);
  for (int rank = 0; rank < schedule.ranks; ++rank) {
    writer.process(first_process + rank, what + " " + std::to_string(rank));
    writer.track(first_process + rank, kComputeTrack, "compute");
    predicted.rank(rank, schedule.programs[static_cast<std::size_t>(rank)],
                   times.slots[static_cast<std::size_t>(rank)]);
  }
  predicted.messages(times.transfers, Ends(schedule, times), schedule.ranks);
}

std::string to_chrome_trace(const Schedule& schedule, const Timeline& times, double unit_us) {
  ChromeWriter writer;
  write_predicted(writer, schedule, times, unit_us, "rank", 0, 0);
  return writer.finish({{"schedule", to_string(schedule.kind)}});
}

}  // namespace weft::dualpipe
