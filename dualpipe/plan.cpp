#include "dualpipe/plan.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "dualpipe/flow.h"

namespace weft::dualpipe {
namespace {

using Key = std::tuple<int, int, int>;

Key key(const Chunk& chunk) { return {chunk.direction, chunk.stage, chunk.micro_batch}; }

/// Which chunks are sent and received here, to tell messages from hand-overs inside this rank.
struct Messages {
  std::map<Key, int> receives[2];  // [gradient] -> index of the action
  std::map<Key, int> sends[2];
  std::map<Key, int> computes[2];  // [backward]

  explicit Messages(std::span<const Action> program) {
    for (std::size_t i = 0; i < program.size(); ++i) {
      const Action& a = program[i];
      const int index = static_cast<int>(i);
      if (a.op == Op::RecvF || a.op == Op::RecvB) receives[a.op == Op::RecvB][key(a.chunk)] = index;
      if (a.op == Op::SendF || a.op == Op::SendB) sends[a.op == Op::SendB][key(a.chunk)] = index;
      if (a.op == Op::F || a.op == Op::FB) computes[0][key(a.chunk)] = index;
      if (a.op == Op::B || a.op == Op::BI) computes[1][key(a.chunk)] = index;
      if (a.op == Op::FB) computes[1][key(a.other)] = index;
    }
  }

  static int find(const std::map<Key, int>& map, const Chunk& chunk) {
    const auto found = map.find(key(chunk));
    return found == map.end() ? -1 : found->second;
  }

  /// The chunk on the neighbouring stage of this rank that takes over from `chunk` (or hands over
  /// to it) without a message; a V-shaped pipeline changes direction on the way.
  std::optional<Chunk> neighbour(const Chunk& chunk, int stage, bool backward) const {
    for (int direction : {chunk.direction, 1 - chunk.direction}) {
      const Chunk other{direction, stage, chunk.micro_batch};
      if (find(computes[backward], other) >= 0) return other;
    }
    return std::nullopt;
  }
};

class Planner {
 public:
  Planner(std::span<const Action> program, std::span<Stage* const> stages, bool overlap)
      : program_(program), stages_(stages), overlap_(overlap), messages_(program) {}

  Expected<Plan> run() {
    Plan plan;
    plan.program.assign(program_.begin(), program_.end());
    for (std::size_t i = 0; i < program_.size(); ++i) {
      PlannedAction planned;
      planned.action = program_[i];
      planned.text = describe(program_[i]);
      auto filled = fill(planned, static_cast<int>(i));
      if (!filled) return fail_in(planned.text, filled.error());
      fill_standings(planned, static_cast<int>(i));
      plan.actions.push_back(std::move(planned));
    }
    for (const Stage* stage : stages_) {
      auto& forward = plan.forward_phases.emplace_back();
      auto& backward = plan.backward_phases.emplace_back();
      if (stage == nullptr) continue;
      const auto f = stage->phases(Pass::Forward);
      const auto b = stage->phases(Pass::Backward);
      forward.assign(f.begin(), f.end());
      backward.assign(b.begin(), b.end());
    }
    return plan;
  }

 private:
  Expected<void> fill(PlannedAction& planned, int index) {
    const Action& action = planned.action;
    if (is_message(action.op)) {
      planned.tag = message_tag(action);
      WEFT_TRY(stage_of(action.chunk));
      return fill_message(action, index);
    }
    if (!is_compute(action.op)) return {};
    WEFT_TRY_ASSIGN(const Stage* stage, stage_of(action.chunk));
    const Stage* other = stage;
    if (action.op == Op::FB) {
      WEFT_TRY_ASSIGN(other, stage_of(action.other));
    }
    planned.moves =
        moves_of(action.op, stage->phases(Pass::Forward), other->phases(Pass::Backward), overlap_);
    return fill_passes(planned, index);
  }

  /// A send must follow what makes its data; a receive must be used later, or nobody would wait for
  /// it.
  Expected<void> fill_message(const Action& action, int index) const {
    const bool gradient = action.op == Op::SendB || action.op == Op::RecvB;
    const int computed = Messages::find(messages_.computes[gradient], action.chunk);
    if (is_send(action.op) && (computed < 0 || computed > index)) {
      return fail(Code::InvalidArgument, "nothing before it makes what it sends");
    }
    if (!is_send(action.op) && computed < index) {
      return fail(Code::InvalidArgument, "nothing after it uses what it receives");
    }
    return {};
  }

  Expected<void> fill_passes(PlannedAction& planned, int index) {
    const Action& action = planned.action;
    if (action.op == Op::F || action.op == Op::FB) {
      WEFT_TRY(fill_pass(planned.forward, action.chunk, false, index));
    }
    if (action.op == Op::B || action.op == Op::BI) {
      WEFT_TRY(fill_pass(planned.backward, action.chunk, true, index));
    }
    if (action.op == Op::FB) WEFT_TRY(fill_pass(planned.backward, action.other, true, index));
    return {};
  }

  Expected<void> fill_pass(PassRun& run, const Chunk& chunk, bool backward, int index) {
    run.wanted = true;
    run.chunk = chunk;
    const int from = backward ? chunk.stage + 1 : chunk.stage - 1;
    const int to = backward ? chunk.stage - 1 : chunk.stage + 1;
    const int last = static_cast<int>(stages_.size()) - 1;
    run.receive = Messages::find(messages_.receives[backward], chunk);
    if (run.receive > index) return missing(chunk, backward, "is received only after it");
    if (run.receive < 0 && from >= 0 && from <= last) {
      const auto giver = messages_.neighbour(chunk, from, backward);
      if (!giver) return missing(chunk, backward, "is neither received nor made on this rank");
      if (Messages::find(messages_.computes[backward], *giver) >= index) {
        return missing(chunk, backward, "is made on this rank only after it");
      }
    }
    const bool sent = Messages::find(messages_.sends[backward], chunk) >= 0;
    if (!sent && to >= 0 && to <= last) {
      const auto taker = messages_.neighbour(chunk, to, backward);
      const bool takes = taker && Messages::find(messages_.receives[backward], *taker) < 0;
      if (!takes) {
        return fail(Code::InvalidArgument, std::string("its ") +
                                               (backward ? "gradient" : "activation") +
                                               " is neither sent nor used on this rank");
      }
      run.give = {true, *taker};
    }
    return {};
  }

  static void fill_standings(PlannedAction& planned, int index) {
    const Action& action = planned.action;
    Here& here = planned.standing;
    here.doing = Here::Doing::Works;
    here.action = index;
    here.op = static_cast<std::uint8_t>(action.op);
    here.peer = static_cast<std::int16_t>(action.peer);
    stand_with(here, action.chunk);
    std::uint16_t begun[2] = {};  // [backward] the turn at which the exchange under way was begun
    for (const PhaseMove& move : planned.moves) {
      const bool waits = move.what == PhaseMove::What::Finish;
      const bool second = action.op == Op::FB && move.step.backward;
      Here& one = planned.standings.emplace_back(here);
      one.turn = static_cast<std::uint16_t>(planned.standings.size());
      if (move.what == PhaseMove::What::Begin) begun[move.step.backward] = one.turn;
      if (waits) one.doing = Here::Doing::Exchanges;
      if (waits) one.message = begun[move.step.backward];
      stand_with(one, second ? action.other : action.chunk);
      one.layer = static_cast<std::int16_t>(move.step.phase.layer);
      one.phase = static_cast<std::uint8_t>(move.step.phase.kind);
      one.part = static_cast<std::uint8_t>(move.step.phase.part);
      one.backward = move.step.backward;
    }
  }

  static void stand_with(Here& here, const Chunk& chunk) {
    here.micro_batch = chunk.micro_batch;
    here.stage = static_cast<std::int16_t>(chunk.stage);
    here.direction = static_cast<std::uint8_t>(chunk.direction);
  }

  static tl::unexpected<Error> missing(const Chunk& chunk, bool backward, const char* how) {
    return fail(Code::InvalidArgument, std::string(backward ? "the gradient" : "the activation") +
                                           " that " + describe(chunk) + " needs " + how);
  }

  Expected<const Stage*> stage_of(const Chunk& chunk) const {
    const bool inside = chunk.stage >= 0 && chunk.stage < static_cast<int>(stages_.size());
    const Stage* stage = inside ? stages_[static_cast<std::size_t>(chunk.stage)] : nullptr;
    if (stage == nullptr) {
      return fail(Code::InvalidArgument,
                  "stage " + std::to_string(chunk.stage) + " is not on this rank");
    }
    return stage;
  }

  std::span<const Action> program_;
  std::span<Stage* const> stages_;
  bool overlap_;
  Messages messages_;
};

}  // namespace

comm::Tag message_tag(const Action& action) {
  const bool gradient = action.op == Op::SendB || action.op == Op::RecvB;
  // A message is named by the chunk that uses it, which both sides know.
  int stage = action.chunk.stage;
  if (action.op == Op::SendF) ++stage;
  if (action.op == Op::SendB) --stage;
  // A V-shaped pipeline's turn is inside one rank, so both sides agree on the direction.
  return (comm::Tag{gradient ? 2u : 1u} << 60) |
         (static_cast<comm::Tag>(action.chunk.direction & 0xff) << 52) |
         (static_cast<comm::Tag>(stage & 0xfffff) << 32) |
         static_cast<comm::Tag>(static_cast<std::uint32_t>(action.chunk.micro_batch));
}

Expected<Plan> make_plan(std::span<const Action> program, std::span<Stage* const> stages,
                         bool overlap) {
  return Planner(program, stages, overlap).run();
}

bool fits(const Plan& plan, std::span<const Action> program, std::span<Stage* const> stages) {
  if (!std::equal(program.begin(), program.end(), plan.program.begin(), plan.program.end())) {
    return false;
  }
  for (std::size_t i = 0; i < stages.size(); ++i) {
    if (stages[i] == nullptr) continue;
    if (!std::ranges::equal(stages[i]->phases(Pass::Forward), plan.forward_phases[i]) ||
        !std::ranges::equal(stages[i]->phases(Pass::Backward), plan.backward_phases[i])) {
      return false;
    }
  }
  return true;
}

}  // namespace weft::dualpipe
