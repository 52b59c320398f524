#include "dualpipe/waits_needs.h"

#include <algorithm>
#include <climits>
#include <map>
#include <memory>
#include <tuple>

#include "dualpipe/flow.h"

namespace weft::dualpipe {
namespace {

/// How far a rank has come: pass, action of the pass, move or meeting in it. Behind a pass the
/// action is kEnd.
struct Place3 {
  std::int64_t pass = 0;
  int action = 0;
  int turn = 0;
  friend auto operator<=>(const Place3&, const Place3&) = default;
};
constexpr int kEnd = INT_MAX;

/// One kind of pass: its programs, and for each message the index of its other side.
struct PassPlan {
  Schedule schedule;
  std::vector<std::vector<int>> partner;            // [position][action]; -1: no message
  std::vector<std::vector<std::vector<int>>> uses;  // [position][action]: receives that it needs
};

void pair_messages(PassPlan& plan) {
  // A message is named by the chunk that uses it and what it carries.
  const Flow flow(plan.schedule);
  const auto name = [&](const Action& action) {
    const bool gradient = action.op == Op::SendB || action.op == Op::RecvB;
    Chunk user = action.chunk;
    if (action.op == Op::SendF) user = flow.after(action.chunk).value_or(action.chunk);
    if (action.op == Op::SendB) user = flow.before(action.chunk).value_or(action.chunk);
    return std::tuple(gradient, user.direction, user.stage, user.micro_batch);
  };
  using Name = decltype(name(Action{}));
  std::map<Name, std::pair<int, int>> sends;  // position, index
  const std::size_t positions = plan.schedule.programs.size();
  plan.partner.resize(positions);
  plan.uses.resize(positions);
  for (std::size_t p = 0; p < positions; ++p) {
    const auto& program = plan.schedule.programs[p];
    plan.partner[p].assign(program.size(), -1);
    plan.uses[p].resize(program.size());
    for (std::size_t i = 0; i < program.size(); ++i)
      if (is_send(program[i].op))
        sends[name(program[i])] = {static_cast<int>(p), static_cast<int>(i)};
  }
  for (std::size_t p = 0; p < positions; ++p) {
    const auto& program = plan.schedule.programs[p];
    std::map<Name, int> receives;
    for (std::size_t i = 0; i < program.size(); ++i) {
      const Action& action = program[i];
      if (is_message(action.op) && !is_send(action.op)) {
        const auto from = sends.find(name(action));
        if (from == sends.end()) continue;
        plan.partner[p][i] = from->second.second;
        plan.partner[static_cast<std::size_t>(from->second.first)]
                    [static_cast<std::size_t>(from->second.second)] = static_cast<int>(i);
        receives[name(action)] = static_cast<int>(i);
      }
      const auto use = [&](Op op, const Chunk& chunk) {
        const auto found = receives.find(name({op, chunk, {}, -1}));
        if (found != receives.end()) plan.uses[p][i].push_back(found->second);
      };
      if (action.op == Op::F || action.op == Op::FB) use(Op::RecvF, action.chunk);
      if (action.op == Op::B || action.op == Op::BI) use(Op::RecvB, action.chunk);
      if (action.op == Op::FB) use(Op::RecvB, action.other);
    }
  }
}

/// Its process has ended, or does not run.
bool is_dead(const Standing& standing) {
  return standing.process == Standing::Process::Stopped ||
         standing.process == Standing::Process::Gone;
}

class Needs {
 public:
  Needs(const WaitsWorld& world, const std::vector<Standing>& standings)
      : world_(world), standings_(standings), edges_(standings.size()) {}

  Expected<void> prepare() {
    if (static_cast<int>(standings_.size()) != world_.world() || world_.lanes < 1 ||
        world_.expert < 1 || world_.lanes % world_.expert != 0)
      return fail(Code::InvalidArgument,
                  "the ranks whose positions are known do not fit the layout: " +
                      std::to_string(standings_.size()) + " for " +
                      std::to_string(world_.positions) + " x " + std::to_string(world_.lanes));
    const Size size{world_.positions, world_.micro_batches};
    WEFT_TRY_ASSIGN(const Schedule computes, generate(world_.kind, size));
    train_.schedule = add_step_end(add_messages(computes));
    pair_messages(train_);
    return {};
  }

  std::vector<std::vector<Wait>> find() {
    for (int rank = 0; rank < world_.world(); ++rank)
      if (at(rank).known && !is_dead(at(rank))) add_needs(rank);
    return std::move(edges_);
  }

 private:
  const Standing& at(int rank) const { return standings_[static_cast<std::size_t>(rank)]; }
  std::vector<Wait>& edges(int rank) { return edges_[static_cast<std::size_t>(rank)]; }
  int position(int rank) const { return rank / world_.lanes; }
  int lane(int rank) const { return rank % world_.lanes; }

  Place3 place(int rank) const {
    const Here& here = at(rank).here;
    return {here.pass, here.action < 0 ? kEnd : here.action, here.turn};
  }

  /// The plan of the pass that a rank is in; null where its header makes no sense.
  const PassPlan* plan_of(const Here& here) {
    if (here.program == Program::None) return nullptr;
    if (here.program == Program::Train) return &train_;
    const int count = here.pass_micro_batches;
    if (count < 1 || count > std::max(world_.micro_batches, 2 * world_.positions + 2))
      return nullptr;
    std::unique_ptr<PassPlan>& plan = forward_[count];
    if (plan == nullptr) {
      plan = std::make_unique<PassPlan>();
      if (const auto schedule = generate_forward(world_.kind, {world_.positions, count})) {
        plan->schedule = add_messages(*schedule);
        pair_messages(*plan);
      }
    }
    return plan->schedule.programs.empty() ? nullptr : plan.get();
  }

  /// `rank` needs `to` to have come to `there`.
  void need(int rank, int to, const Place3& there) {
    const bool ready = at(to).known && place(to) >= there;
    edges(rank).push_back({rank, to, ready});
  }

  void need_message(int rank, const PassPlan& plan, int index) {
    const auto p = static_cast<std::size_t>(position(rank));
    const auto& program = plan.schedule.programs[p];
    if (index < 0 || index >= static_cast<int>(program.size())) return;
    const int other = plan.partner[p][static_cast<std::size_t>(index)];
    const int peer = program[static_cast<std::size_t>(index)].peer;
    if (other < 0) return;
    // Begun, and the next action under way: a send or receive that stands begun may still be stuck.
    need(rank, peer * world_.lanes + lane(rank), {at(rank).here.pass, other + 1, 0});
  }

  /// Where `rank` stands, as `to` would stand there: programs differ in length, ends agree.
  Place3 meeting(int rank, int to) const {
    Place3 there = place(rank);
    if (there.action == kEnd) return there;
    const auto index = [&](int one) {
      const auto& program = train_.schedule.programs[static_cast<std::size_t>(position(one))];
      const auto update = std::ranges::find(program, Op::Update, &Action::op);
      return static_cast<int>(update - program.begin());
    };
    there.action += index(to) - index(rank);
    return there;
  }

  /// Everybody must come to where `rank` is; who is further has done its part.
  void need_meeting(int rank, int to) {
    const Place3 there = meeting(rank, to);
    if (to == rank || (at(to).known && place(to) > there)) return;
    need(rank, to, there);
  }

  void add_needs(int rank) {
    const Here& here = at(rank).here;
    const PassPlan* plan = plan_of(here);
    using Doing = Here::Doing;
    if (here.doing == Doing::Meets) {
      for (int to = 0; to < world_.world(); ++to) need_meeting(rank, to);
      return;
    }
    if (plan == nullptr || here.action < 0) return;
    if (here.doing == Doing::WaitsReceive || here.doing == Doing::WaitsSend)
      return need_message(rank, *plan, here.message);
    if (here.doing == Doing::Exchanges) return need_lanes(rank);
    const auto& program = plan->schedule.programs[static_cast<std::size_t>(position(rank))];
    if (here.doing != Doing::Works || here.place != Place::None || here.turn != 0 ||
        here.action >= static_cast<int>(program.size()))
      return;
    need_inputs(rank, *plan, program[static_cast<std::size_t>(here.action)]);
  }

  void need_lanes(int rank) {
    const Here& here = at(rank).here;
    const int first = rank - lane(rank) % world_.expert;
    for (int to = first; to < first + world_.expert; ++to)
      if (to != rank) need(rank, to, {here.pass, here.action, std::max(here.message, 0)});
  }

  /// It has begun the action, and nothing of it.
  void need_inputs(int rank, const PassPlan& plan, const Action& action) {
    const Here& here = at(rank).here;
    const auto p = static_cast<std::size_t>(position(rank));
    if (action.op == Op::Reduce) return need_holders(rank, plan, action.chunk.stage);
    for (const int receive : plan.uses[p][static_cast<std::size_t>(here.action)])
      need_message(rank, plan, receive);
    // It does not say that it waits: what is there does not hold it.
    std::erase_if(edges(rank), [](const Wait& wait) { return wait.ready; });
  }

  void need_holders(int rank, const PassPlan& plan, int stage) {
    for (int to = 0; to < world_.world(); ++to) {
      const auto& program = plan.schedule.programs[static_cast<std::size_t>(position(to))];
      const auto found = std::ranges::find_if(program, [&](const Action& action) {
        return action.op == Op::Reduce && action.chunk.stage == stage;
      });
      if (to == rank || found == program.end()) continue;
      const Place3 there{at(rank).here.pass, static_cast<int>(found - program.begin()), 0};
      const Place3 behind{there.pass, there.action + 1, 0};
      if (!at(to).known || place(to) < behind) need(rank, to, there);
    }
  }

  const WaitsWorld& world_;
  const std::vector<Standing>& standings_;
  PassPlan train_;
  std::map<int, std::unique_ptr<PassPlan>> forward_;  // by micro-batches
  std::vector<std::vector<Wait>> edges_;
};

}  // namespace

Expected<std::vector<std::vector<Wait>>> find_needs(const WaitsWorld& world,
                                                    const std::vector<Standing>& standings) {
  Needs needs(world, standings);
  WEFT_TRY(needs.prepare());
  return needs.find();
}

}  // namespace weft::dualpipe
