// What recording costs: the executor's time for an action and for a phase with and without a
// recorder, with stages that do nothing, and that as the share of a step of the main job.
//
//   recorder_bench [steps [records of a step, seconds of a step]]
//
// The last two come from `weft trace RUN --list`; without them a step of 65 records and 5 ms, the
// smallest that the main job has.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "dualpipe/executor.h"
#include "dualpipe/recorder.h"

namespace weft::dualpipe {
namespace {

/// Two MoE layers' phases, done in no time.
class IdleStage final : public Stage {
 public:
  IdleStage() {
    for (int layer = 0; layer < 2; ++layer)
      for (const PhaseKind kind :
           {PhaseKind::Attention, PhaseKind::Dispatch, PhaseKind::Experts, PhaseKind::Combine})
        forward_.push_back({kind, layer, Part::Whole});
    for (int layer = 1; layer >= 0; --layer) {
      backward_.push_back({PhaseKind::Combine, layer, Part::Input});
      backward_.push_back({PhaseKind::Experts, layer, Part::Input});
      backward_.push_back({PhaseKind::Dispatch, layer, Part::Input});
      backward_.push_back({PhaseKind::Experts, layer, Part::Weights});
      backward_.push_back({PhaseKind::Attention, layer, Part::Input});
      backward_.push_back({PhaseKind::Attention, layer, Part::Weights});
    }
  }
  std::span<const Phase> phases(Pass pass) const override {
    return pass == Pass::Forward ? forward_ : backward_;
  }
  Expected<void> begin(Pass, const Phase&, const Chunk&) override { return {}; }
  Expected<void> finish(Pass, const Phase&, const Chunk&) override { return {}; }
  std::span<std::byte> incoming(Pass, const Chunk&) override { return buffer_; }
  std::span<const std::byte> outgoing(Pass, const Chunk&) override { return buffer_; }

 private:
  std::vector<Phase> forward_, backward_;
  std::byte buffer_[64] = {};
};

/// Every message is there at once.
class InstantCommunicator final : public comm::Communicator {
 public:
  int rank() const override { return 1; }
  int size() const override { return 8; }
  std::string_view name() const override { return "instant"; }
  comm::Request start_send(int, comm::Tag, comm::ConstBytes) override { return {0}; }
  comm::Request start_receive(int, comm::Tag, comm::Bytes) override { return {0}; }
  Expected<std::size_t> wait(comm::Request) override { return 64; }
  bool test(comm::Request) override { return true; }
};

double processor_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Processor seconds of one step, the best of a few.
double best_step(Executor& executor, StepRecorder* recorder, std::span<const Action> program,
                 int steps) {
  executor.set_recorder(recorder);
  double best = 1e9;
  for (int step = 0; step < steps; ++step) {
    if (recorder != nullptr) recorder->begin_step(step, "bench");
    const double begin = processor_seconds();
    {
      const RecordedPass pass(recorder, Program::Train);
      if (!executor.run(program)) std::abort();
    }
    best = std::min(best, processor_seconds() - begin);
    if (recorder != nullptr) recorder->end_step();
  }
  return best;
}

int run(int steps, double step_records, double step_seconds) {
  const Schedule schedule = add_messages(*generate(Kind::DualPipe, {8, 64, 2}));
  const auto& program = schedule.programs[1];
  IdleStage near, far;
  std::vector<Stage*> stages(8, nullptr);
  stages[1] = &near;
  stages[6] = &far;
  InstantCommunicator group;
  Executor executor(stages, nullptr, group, {});
  const std::size_t records = executor.records_of(program) + 1;
  const RingSize size{8, records};
  std::vector<std::uint64_t> memory(ring_bytes(size) / 8, 0);
  StepRecorder recorder(std::as_writable_bytes(std::span(memory)), size, RingInfo{});
  double off = 1e9, on = 1e9;
  for (int round = 0; round < 10; ++round) {
    off = std::min(off, best_step(executor, nullptr, program, steps));
    on = std::min(on, best_step(executor, &recorder, program, steps));
  }
  const double actions = static_cast<double>(program.size());
  const double a_record = (on - off) / static_cast<double>(records);
  std::printf("an action with its phases  %6.0f ns without a recorder, %6.0f ns with one\n",
              1e9 * off / actions, 1e9 * on / actions);
  std::printf("a record                   %6.1f ns (%zu of a step, %zu bytes each)\n",
              1e9 * a_record, records, sizeof(Record));
  std::printf("of a step of %.0f records in %.1f ms: %.3f %%\n", step_records, 1e3 * step_seconds,
              100 * a_record * step_records / step_seconds);
  return 0;
}

}  // namespace
}  // namespace weft::dualpipe

int main(int argc, char** argv) {
  const auto number = [&](int i, double fallback) {
    return argc > i ? std::strtod(argv[i], nullptr) : fallback;
  };
  return weft::dualpipe::run(static_cast<int>(number(1, 50)), number(2, 65), number(3, 5e-3));
}
