#include "dualpipe/executor.h"

#include <array>
#include <atomic>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "dualpipe/flow.h"
#include "dualpipe/plan.h"

namespace weft::dualpipe {
namespace {

// Sends that may be under way before the oldest is waited for.
constexpr std::size_t kMaxSends = 16;
// Programs whose plans are kept: training, forward only, and room for sizes that change.
constexpr std::size_t kMaxPlans = 4;

/// The parts of a record that an action gives.
Record record_of(Record::What what, const Action& action, std::size_t index) {
  Record record;
  record.what = what;
  record.op = static_cast<std::uint8_t>(action.op);
  record.action = static_cast<std::int32_t>(index);
  record.micro_batch = action.chunk.micro_batch;
  record.stage = static_cast<std::int16_t>(action.chunk.stage);
  record.direction = static_cast<std::uint8_t>(action.chunk.direction);
  record.peer = static_cast<std::int16_t>(action.peer);
  if (action.op == Op::FB) {
    record.other_micro_batch = action.other.micro_batch;
    record.other_stage = static_cast<std::int16_t>(action.other.stage);
    record.other_direction = static_cast<std::uint8_t>(action.other.direction);
  }
  return record;
}

}  // namespace

struct Executor::Impl {
  /// When it was started, and how long starting took; for the recorder.
  struct Started {
    std::int64_t begin_ns = 0;
    std::int64_t head_ns = 0;
  };
  struct OpenSend {
    comm::Request request;
    const PlannedAction* planned = nullptr;
    std::size_t index = 0;
    std::size_t bytes = 0;
    Started started;
  };
  struct OpenReceive {
    comm::Request request;
    std::size_t bytes = 0;
    bool open = false;
    Started started;
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
    for (std::size_t i = 0; i < plan->actions.size(); ++i) {
      position.store(static_cast<int>(i), std::memory_order_relaxed);
      current = i;
      WEFT_TRY(run_one(*plan, i));
    }
    current = plan->actions.size();
    if (auto done = settle_sends(); !done) {
      if (recorder != nullptr) recorder->freeze();
      return done;
    }
    pipeline.set_serving({});
    return {};
  }

  Expected<void> run_one(const Plan& plan, std::size_t i) {
    const PlannedAction& planned = plan.actions[i];
    pipeline.set_serving(planned.text);
    moment = now();
    const std::int64_t begin = moment;
    stand(planned.standing);
    if (auto done = act(plan, planned, i); !done) {
      // The texts belong to the plan, which may go before the communicator does.
      pipeline.set_serving({});
      if (recorder != nullptr) recorder->freeze();
      return fail_in(planned.text, done.error());
    }
    if (recorder == nullptr || is_message(planned.action.op)) return {};
    Record record = record_of(Record::What::Action, planned.action, i);
    record.begin_ns = begin;
    record.end_ns = now();
    recorder->add(record);
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
        return start_send(planned, i);
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
        return compute(plan, planned, i);
    }
  }

  /// The end of a step waits for other ranks by itself: our messages must be through.
  Expected<void> settle_before(const PlannedAction& planned) {
    WEFT_TRY(settle_sends());
    moment = now();
    stand(planned.standing);
    return {};
  }

  static tl::unexpected<Error> no_step_end() {
    return fail(Code::InvalidArgument, "the program ends a step, but there is no StepEnd");
  }

  Expected<void> compute(const Plan& plan, const PlannedAction& planned, std::size_t i) {
    WEFT_TRY(await_input(plan, planned.forward));
    WEFT_TRY(await_input(plan, planned.backward));
    moment = now();
    for (std::size_t m = 0; m < planned.moves.size(); ++m) {
      stand(planned.standings[m]);
      WEFT_TRY(make(planned.moves[m], planned, i));
    }
    WEFT_TRY(hand_over(planned.forward, Pass::Forward));
    WEFT_TRY(hand_over(planned.backward, Pass::Backward));
    return {};
  }

  Expected<void> make(const PhaseMove& move, const PlannedAction& planned, std::size_t i) {
    const Pass pass = move.step.backward ? Pass::Backward : Pass::Forward;
    const bool second = planned.action.op == Op::FB && move.step.backward;
    const Chunk& chunk = second ? planned.action.other : planned.action.chunk;
    if (move.what == PhaseMove::What::Finish)
      WEFT_TRY(stage(chunk).finish(pass, move.step.phase, chunk));
    else
      WEFT_TRY(stage(chunk).begin(pass, move.step.phase, chunk));
    if (recorder != nullptr) record_move(move, chunk, i);
    return {};
  }

  /// A move begins where the one before it ended: one look at the clock each.
  void record_move(const PhaseMove& move, const Chunk& chunk, std::size_t i) {
    const std::int64_t begin = std::exchange(moment, now());
    Started& exchange = exchanges[move.step.backward];
    if (move.what == PhaseMove::What::Begin) {
      exchange = {begin, moment - begin};
      return;
    }
    const Phase& phase = move.step.phase;
    const bool finish = move.what == PhaseMove::What::Finish;
    Record record =
        record_of(finish ? Record::What::Exchange : Record::What::Phase, {Op::F, chunk, {}, -1}, i);
    record.begin_ns = finish ? exchange.begin_ns : begin;
    record.end_ns = moment;
    record.phase = static_cast<std::uint8_t>(phase.kind);
    record.part = static_cast<std::uint8_t>(phase.part);
    record.layer = static_cast<std::int16_t>(phase.layer);
    record.backward = move.step.backward;
    if (finish) {
      record.head_ns = exchange.head_ns;
      record.tail_ns = moment - begin;
      const Pass pass = move.step.backward ? Pass::Backward : Pass::Forward;
      record.bytes = stage(chunk).exchanged_bytes(pass, phase, chunk);
    }
    recorder->add(record);
  }

  void record_message(Record::What what, const Action& action, std::size_t index, std::size_t bytes,
                      const Started& started, std::int64_t wait_begin) {
    Record record = record_of(what, action, index);
    record.begin_ns = started.begin_ns;
    record.end_ns = now();
    record.head_ns = started.head_ns;
    record.tail_ns = record.end_ns - wait_begin;
    record.bytes = bytes;
    recorder->add(record);
  }

  void stand(const Here& here) {
    if (recorder != nullptr) recorder->stand(here, moment);
  }

  /// `message`: index of the action that is waited for, whose text and peer this is about.
  void stand_waiting(Here::Doing doing, const PlannedAction& planned, std::size_t message) {
    if (recorder == nullptr) return;
    Here here = planned.standing;
    here.doing = doing;
    here.action = static_cast<std::int32_t>(current);
    here.message = static_cast<std::int32_t>(message);
    recorder->stand(here, moment);
  }

  std::int64_t now() const { return recorder != nullptr ? StepRecorder::now_ns() : 0; }

  Expected<void> await_input(const Plan& plan, const PassRun& run) {
    if (!run.wanted || run.receive < 0) return {};
    return await_receive(plan, static_cast<std::size_t>(run.receive));
  }

  void start_receive(const PlannedAction& planned, std::size_t i) {
    const Pass pass = planned.action.op == Op::RecvB ? Pass::Backward : Pass::Forward;
    const auto into = stage(planned.action.chunk).incoming(pass, planned.action.chunk);
    const auto request = pipeline.start_receive(planned.action.peer, planned.tag, into);
    receives[i] = {request, into.size(), true, {moment, now() - moment}};
  }

  Expected<void> await_receive(const Plan& plan, std::size_t i) {
    OpenReceive& receive = receives[i];
    if (!receive.open) return {};
    receive.open = false;
    const std::string& text = plan.actions[i].text;
    const Action& action = plan.actions[i].action;
    moment = now();
    stand_waiting(Here::Doing::WaitsReceive, plan.actions[i], i);
    const auto bytes = pipeline.wait(receive.request);
    if (!bytes) return fail_in(text, bytes.error());
    if (recorder != nullptr)
      record_message(Record::What::Receive, action, i, *bytes, receive.started, moment);
    if (*bytes != receive.bytes) {
      return fail(Code::Corrupt, text + ": " + std::to_string(*bytes) + " bytes came, expected " +
                                     std::to_string(receive.bytes) +
                                     "; do both sides run the same model and micro-batch size?");
    }
    return {};
  }

  Expected<void> start_send(const PlannedAction& planned, std::size_t i) {
    while (open_sends > 0 && pipeline.test(sends[oldest_send].request)) WEFT_TRY(end_oldest_send());
    if (open_sends == kMaxSends) WEFT_TRY(end_oldest_send());
    const Chunk& chunk = planned.action.chunk;
    const Pass pass = planned.action.op == Op::SendB ? Pass::Backward : Pass::Forward;
    moment = now();
    const auto data = stage(chunk).outgoing(pass, chunk);
    const auto request = pipeline.start_send(planned.action.peer, planned.tag, data);
    sends[(oldest_send + open_sends) % kMaxSends] = {
        request, &planned, i, data.size(), {moment, now() - moment}};
    ++open_sends;
    return {};
  }

  Expected<void> end_oldest_send() {
    const OpenSend send = sends[oldest_send];
    oldest_send = (oldest_send + 1) % kMaxSends;
    --open_sends;
    moment = now();
    stand_waiting(Here::Doing::WaitsSend, *send.planned, send.index);
    const auto done = pipeline.wait(send.request);
    if (!done) return fail_in(send.planned->text, done.error());
    if (recorder != nullptr)
      record_message(Record::What::Send, send.planned->action, send.index, send.bytes, send.started,
                     moment);
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
  StepRecorder* recorder = nullptr;
  std::int64_t moment = 0;  // the last look at the clock; 0 without a recorder
  Started exchanges[2];     // [backward]; a pass has one at a time
  std::size_t current = 0;  // the action being run; the number of actions behind the last
};

Executor::Executor(std::vector<Stage*> stages, StepEnd* step_end, comm::Communicator& pipeline,
                   Options options)
    : impl_(std::make_shared<Impl>(std::move(stages), step_end, pipeline, options)) {}

Expected<void> Executor::run(std::span<const Action> program) { return impl_->run(program); }

int Executor::position() const { return impl_->position.load(std::memory_order_relaxed); }

void Executor::set_recorder(StepRecorder* recorder) { impl_->recorder = recorder; }

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
