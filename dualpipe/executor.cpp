#include "dualpipe/executor.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>

#include "base/check.h"
#include "dualpipe/plan.h"

namespace weft::dualpipe {
namespace {

// Sends that may be under way before the oldest is waited for.
constexpr std::size_t kMaxSends = 16;
// Programs whose plans are kept: training, forward only, and room for sizes that change.
constexpr std::size_t kMaxPlans = 4;

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

struct Executor::Impl {
  struct OpenSend {
    comm::Request request;
    const PlannedAction* planned = nullptr;
  };
  struct OpenReceive {
    comm::Request request;
    std::size_t bytes = 0;
    bool open = false;
  };

  Impl(std::vector<Stage*> stages_in, StepEnd* step_end_in, comm::Communicator& pipeline_in,
       Options options_in)
      : stages(std::move(stages_in)),
        step_end(step_end_in),
        pipeline(pipeline_in),
        options(options_in) {}

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
    receives.assign(program.size(), {});
    if (recorder != nullptr) recorder->reserve(recorder->size() + program.size());
    for (std::size_t i = 0; i < plan->actions.size(); ++i) {
      position.store(static_cast<int>(i), std::memory_order_relaxed);
      WEFT_TRY(run_one(*plan, i));
    }
    WEFT_TRY(settle_sends());
    pipeline.set_serving({});
    return {};
  }

  Expected<void> run_one(const Plan& plan, std::size_t i) {
    const PlannedAction& planned = plan.actions[i];
    pipeline.set_serving(planned.text);
    const std::int64_t begin = recorder != nullptr ? now_ns() : 0;
    if (auto done = act(plan, planned, i); !done) {
      // The texts belong to the plan, which may go before the communicator does.
      pipeline.set_serving({});
      return fail_in(planned.text, done.error());
    }
    if (recorder != nullptr) recorder->push_back({planned.action, begin, now_ns()});
    return {};
  }

  Expected<void> act(const Plan& plan, const PlannedAction& planned, std::size_t i) {
    const Chunk& chunk = planned.action.chunk;
    switch (planned.action.op) {
      case Op::RecvF:
      case Op::RecvB:
        start_receive(planned, i);
        return {};
      case Op::SendF:
      case Op::SendB:
        return start_send(planned);
      case Op::Reduce:
        WEFT_TRY(settle_sends());
        return step_end == nullptr ? no_step_end() : step_end->reduce(chunk.stage);
      case Op::Update:
        WEFT_TRY(settle_sends());
        return step_end == nullptr ? no_step_end() : step_end->update();
      case Op::Snapshot:
        WEFT_TRY(settle_sends());
        return step_end == nullptr ? no_step_end() : step_end->snapshot();
      default:
        return compute(plan, planned);
    }
  }

  static tl::unexpected<Error> no_step_end() {
    return fail(Code::InvalidArgument, "the program ends a step, but there is no StepEnd");
  }

  Expected<void> compute(const Plan& plan, const PlannedAction& planned) {
    WEFT_TRY(await_input(plan, planned.forward));
    WEFT_TRY(await_input(plan, planned.backward));
    for (const PhaseMove& move : planned.moves) WEFT_TRY(make(move, planned));
    WEFT_TRY(hand_over(planned.forward, Pass::Forward));
    WEFT_TRY(hand_over(planned.backward, Pass::Backward));
    return {};
  }

  Expected<void> make(const PhaseMove& move, const PlannedAction& planned) {
    const Pass pass = move.step.backward ? Pass::Backward : Pass::Forward;
    const bool second = planned.action.op == Op::FB && move.step.backward;
    const Chunk& chunk = second ? planned.action.other : planned.action.chunk;
    if (move.what == PhaseMove::What::Finish)
      return stage(chunk).finish(pass, move.step.phase, chunk);
    return stage(chunk).begin(pass, move.step.phase, chunk);
  }

  Expected<void> await_input(const Plan& plan, const PassRun& run) {
    if (!run.wanted || run.receive < 0) return {};
    return await_receive(plan, static_cast<std::size_t>(run.receive));
  }

  void start_receive(const PlannedAction& planned, std::size_t i) {
    const Pass pass = planned.action.op == Op::RecvB ? Pass::Backward : Pass::Forward;
    const auto into = stage(planned.action.chunk).incoming(pass, planned.action.chunk);
    const auto request = pipeline.start_receive(planned.action.peer, planned.tag, into);
    receives[i] = {request, into.size(), true};
  }

  Expected<void> await_receive(const Plan& plan, std::size_t i) {
    OpenReceive& receive = receives[i];
    if (!receive.open) return {};
    receive.open = false;
    const std::string& text = plan.actions[i].text;
    const auto bytes = pipeline.wait(receive.request);
    if (!bytes) return fail_in(text, bytes.error());
    if (*bytes != receive.bytes) {
      return fail(Code::Corrupt, text + ": " + std::to_string(*bytes) + " bytes came, expected " +
                                     std::to_string(receive.bytes) +
                                     "; do both sides run the same model and micro-batch size?");
    }
    return {};
  }

  Expected<void> start_send(const PlannedAction& planned) {
    while (open_sends > 0 && pipeline.test(sends[oldest_send].request)) WEFT_TRY(end_oldest_send());
    if (open_sends == kMaxSends) WEFT_TRY(end_oldest_send());
    const Chunk& chunk = planned.action.chunk;
    const Pass pass = planned.action.op == Op::SendB ? Pass::Backward : Pass::Forward;
    const auto data = stage(chunk).outgoing(pass, chunk);
    const auto request = pipeline.start_send(planned.action.peer, planned.tag, data);
    sends[(oldest_send + open_sends) % kMaxSends] = {request, &planned};
    ++open_sends;
    return {};
  }

  Expected<void> end_oldest_send() {
    const OpenSend send = sends[oldest_send];
    oldest_send = (oldest_send + 1) % kMaxSends;
    --open_sends;
    const auto done = pipeline.wait(send.request);
    if (!done) return fail_in(send.planned->text, done.error());
    const Pass pass = send.planned->action.op == Op::SendB ? Pass::Backward : Pass::Forward;
    stage(send.planned->action.chunk).sent(pass, send.planned->action.chunk);
    return {};
  }

  Expected<void> settle_sends() {
    while (open_sends > 0) WEFT_TRY(end_oldest_send());
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
  std::vector<OpenReceive> receives;  // by action index
  std::array<OpenSend, kMaxSends> sends;
  std::size_t oldest_send = 0;
  std::size_t open_sends = 0;
  std::atomic<int> position{0};
  std::vector<Span>* recorder = nullptr;
};

Executor::Executor(std::vector<Stage*> stages, StepEnd* step_end, comm::Communicator& pipeline,
                   Options options)
    : impl_(std::make_shared<Impl>(std::move(stages), step_end, pipeline, options)) {}

Expected<void> Executor::run(std::span<const Action> program) { return impl_->run(program); }

int Executor::position() const { return impl_->position.load(std::memory_order_relaxed); }

void Executor::set_recorder(std::vector<Span>* recorder) { impl_->recorder = recorder; }

}  // namespace weft::dualpipe
