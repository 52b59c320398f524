#include "dualpipe/executor.h"

#include <atomic>
#include <cstring>
#include <utility>

#include "dualpipe/action_recorder.h"
#include "dualpipe/flow.h"
#include "dualpipe/open_messages.h"
#include "dualpipe/plan.h"

namespace weft::dualpipe {
namespace {

// Programs whose plans are kept: training, forward only, and room for sizes that change.
constexpr std::size_t kMaxPlans = 4;

}  // namespace

struct Executor::Impl {
  Impl(std::vector<Stage*> stages_in, StepEnd* step_end_in, comm::Communicator& pipeline_in,
       Options options_in)
      : stages(std::move(stages_in)),
        step_end(step_end_in),
        pipeline(pipeline_in),
        options(options_in),
        messages(stages, pipeline, recorder) {}

  Stage& stage(const Chunk& chunk) { return *stages[static_cast<std::size_t>(chunk.stage)]; }

  Expected<const Plan*> plan_for(std::span<const Action> program) {
    for (const auto& plan : plans) {
      if (fits(*plan, program, stages)) return plan.get();
    }
    WEFT_TRY_ASSIGN(Plan plan, make_plan(program, stages, options.overlap));
    if (plans.size() == kMaxPlans) plans.erase(plans.begin());
    plans.push_back(std::make_unique<Plan>(std::move(plan)));
    return plans.back().get();
  }

  Expected<void> run(std::span<const Action> program) {
    WEFT_TRY_ASSIGN(const Plan* plan, plan_for(program));
    messages.reset(program.size());
    for (std::size_t i = 0; i < plan->actions.size(); ++i) {
      position.store(static_cast<int>(i), std::memory_order_relaxed);
      recorder.set_action(i);
      WEFT_TRY(run_one(*plan, i));
    }
    recorder.set_action(plan->actions.size());
    if (auto done = messages.settle_sends(); !done) {
      recorder.freeze();
      return done;
    }
    pipeline.set_serving({});
    return {};
  }

  Expected<void> run_one(const Plan& plan, std::size_t i) {
    const PlannedAction& planned = plan.actions[i];
    pipeline.set_serving(planned.text);
    const std::int64_t begin_ns = recorder.begin();
    recorder.stand(planned.standing);
    if (auto done = act(plan, planned, i); !done) {
      // The texts belong to the plan, which may go before the communicator does.
      pipeline.set_serving({});
      recorder.freeze();
      return fail_in(planned.text, done.error());
    }
    if (recorder.is_on() && !is_message(planned.action.op))
      recorder.record_action(planned.action, begin_ns);
    return {};
  }

  Expected<void> act(const Plan& plan, const PlannedAction& planned, std::size_t i) {
    const Chunk& chunk = planned.action.chunk;
    switch (planned.action.op) {
      case Op::RecvF:
      case Op::RecvB:
        messages.start_receive(planned, i);
        return {};
      case Op::SendF:
      case Op::SendB:
        return messages.start_send(planned, i);
      case Op::Reduce:
        WEFT_TRY(settle_before(planned));
        return step_end == nullptr ? no_step_end() : step_end->reduce(chunk.stage);
      case Op::Update:
        WEFT_TRY(settle_before(planned));
        return step_end == nullptr ? no_step_end() : step_end->update();
      case Op::Snapshot:
        WEFT_TRY(settle_before(planned));
        return step_end == nullptr ? no_step_end() : step_end->snapshot();
      default:
        return compute(plan, planned);
    }
  }

  /// The end of a step waits for other ranks by itself: our messages must be through.
  Expected<void> settle_before(const PlannedAction& planned) {
    WEFT_TRY(messages.settle_sends());
    recorder.begin();
    recorder.stand(planned.standing);
    return {};
  }

  static tl::unexpected<Error> no_step_end() {
    return fail(Code::InvalidArgument, "the program ends a step, but there is no StepEnd");
  }

  Expected<void> compute(const Plan& plan, const PlannedAction& planned) {
    WEFT_TRY(await_input(plan, planned.forward));
    WEFT_TRY(await_input(plan, planned.backward));
    recorder.begin();
    for (std::size_t m = 0; m < planned.moves.size(); ++m) {
      recorder.stand(planned.standings[m]);
      WEFT_TRY(make(planned.moves[m], planned));
    }
    WEFT_TRY(hand_over(planned.forward, Pass::Forward));
    WEFT_TRY(hand_over(planned.backward, Pass::Backward));
    return {};
  }

  Expected<void> await_input(const Plan& plan, const PassRun& run) {
    if (!run.wanted || run.receive < 0) return {};
    return messages.await_receive(plan, static_cast<std::size_t>(run.receive));
  }

  Expected<void> make(const PhaseMove& move, const PlannedAction& planned) {
    const Pass pass = move.step.backward ? Pass::Backward : Pass::Forward;
    const bool second = planned.action.op == Op::FB && move.step.backward;
    const Chunk& chunk = second ? planned.action.other : planned.action.chunk;
    const bool finish = move.what == PhaseMove::What::Finish;
    if (finish)
      WEFT_TRY(stage(chunk).finish(pass, move.step.phase, chunk));
    else
      WEFT_TRY(stage(chunk).begin(pass, move.step.phase, chunk));
    if (recorder.is_on())
      recorder.record_move(move, chunk,
                           finish ? stage(chunk).exchanged_bytes(pass, move.step.phase, chunk) : 0);
    return {};
  }

  Expected<void> hand_over(const PassRun& run, Pass pass) {
    if (!run.give.wanted) return {};
    const auto from = stage(run.chunk).outgoing(pass, run.chunk);
    const auto to = stage(run.give.to).incoming(pass, run.give.to);
    if (from.size() != to.size()) {
      return fail(Code::Internal, "the next stage on this rank expects " +
                                      std::to_string(to.size()) + " bytes, not " +
                                      std::to_string(from.size()));
    }
    if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
    stage(run.chunk).sent(pass, run.chunk);
    return {};
  }

  std::vector<Stage*> stages;
  StepEnd* step_end;
  comm::Communicator& pipeline;
  Options options;
  std::vector<std::unique_ptr<Plan>> plans;
  ActionRecorder recorder;
  OpenMessages messages;
  std::atomic<int> position{0};
};

Executor::Executor(std::vector<Stage*> stages, StepEnd* step_end, comm::Communicator& pipeline,
                   Options options)
    : impl_(std::make_shared<Impl>(std::move(stages), step_end, pipeline, options)) {}

Expected<void> Executor::run(std::span<const Action> program) { return impl_->run(program); }

int Executor::position() const { return impl_->position.load(std::memory_order_relaxed); }

void Executor::set_recorder(StepRecorder* recorder) { impl_->recorder.set_recorder(recorder); }

std::size_t Executor::records_of(std::span<const Action> program) const {
  std::size_t records = 0;
  for (const Action& action : program) {
    ++records;
    if (!is_compute(action.op)) continue;
    const auto count = [&](const Chunk& chunk, Pass pass) {
      return impl_->stage(chunk).phases(pass).size();
    };
    if (action.op == Op::F || action.op == Op::FB) records += count(action.chunk, Pass::Forward);
    if (action.op == Op::FB) records += count(action.other, Pass::Backward);
    if (action.op != Op::F && action.op != Op::FB) records += count(action.chunk, Pass::Backward);
  }
  return records;
}

}  // namespace weft::dualpipe
