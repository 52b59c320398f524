// Lowering: from what is computed to what is said and done around it.
#include <algorithm>

#include "base/check.h"
#include "dualpipe/flow.h"
#include "dualpipe/schedule.h"
#include "dualpipe/timeline.h"

namespace weft::dualpipe {
namespace {

/// One side of a message in the program of one rank, at the time at which it is due.
struct Due {
  double time = 0;
  Action action;
};

Schedule without_messages(const Schedule& schedule) {
  Schedule result = schedule;
  for (auto& program : result.programs) {
    std::erase_if(program, [](const Action& action) { return is_message(action.op); });
  }
  return result;
}

/// Both sides of every message, per rank in one global order: by time, then sender, then as the
/// sender makes them.
std::vector<std::vector<Due>> due_messages(const Schedule& schedule, const Timeline& times) {
  std::vector<Transfer> transfers = times.transfers;
  std::stable_sort(transfers.begin(), transfers.end(), [](const Transfer& a, const Transfer& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.from < b.from;
  });
  const Flow flow(schedule);
  std::vector<std::vector<Due>> due(schedule.programs.size());
  for (const Transfer& transfer : transfers) {
    const bool gradient = transfer.op == Op::SendB;
    const Chunk consumer = gradient ? *flow.before(transfer.chunk) : *flow.after(transfer.chunk);
    due[static_cast<std::size_t>(transfer.from)].push_back(
        {transfer.begin, {transfer.op, transfer.chunk, {}, transfer.to}});
    due[static_cast<std::size_t>(transfer.to)].push_back(
        {transfer.begin, {gradient ? Op::RecvB : Op::RecvF, consumer, {}, transfer.from}});
  }
  return due;
}

}  // namespace

// The compute actions are run in virtual time at unit cost; a message stands in both programs at
// the moment at which it is made. All programs are therefore cut from one global order in which
// both sides of a message are one event. Hence: per directed pair the receives stand in the order
// of the sends, and no deadlock is possible, even if every single send waited for its receive.
Schedule add_messages(const Schedule& schedule) {
  WEFT_CHECK(check_chunks(schedule).has_value());
  Schedule result = without_messages(schedule);
  const Timeline times = simulate(result);
  const auto due = due_messages(result, times);
  for (std::size_t rank = 0; rank < result.programs.size(); ++rank) {
    std::vector<Action> program;
    std::size_t next = 0;
    for (std::size_t i = 0; i < result.programs[rank].size(); ++i) {
      const Slot& slot = times.slots[rank][i];
      while (next < due[rank].size() && (!slot.ran || due[rank][next].time <= slot.begin)) {
        program.push_back(due[rank][next++].action);
      }
      program.push_back(result.programs[rank][i]);
    }
    while (next < due[rank].size()) program.push_back(due[rank][next++].action);
    result.programs[rank] = std::move(program);
  }
  return result;
}

Schedule add_step_end(const Schedule& schedule) {
  Schedule result = schedule;
  for (int position = 0; position < static_cast<int>(result.programs.size()); ++position) {
    auto& program = result.programs[static_cast<std::size_t>(position)];
    std::vector<int> stages = stages_of(schedule.kind, schedule.ranks, position, schedule.chunks);
    std::sort(stages.begin(), stages.end());
    for (int stage : stages) program.push_back({Op::Reduce, {0, stage, 0}, {}});
    program.push_back({Op::Update, {}, {}});
    program.push_back({Op::Snapshot, {}, {}});
  }
  return result;
}

}  // namespace weft::dualpipe
