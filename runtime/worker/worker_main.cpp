#include "runtime/worker/worker_main.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <exception>
#include <nlohmann/json.hpp>

#include "base/descriptor.h"
#include "base/units.h"
#include "comm/message_check.h"
#include "runtime/control/channel.h"
#include "runtime/control/control.h"
#include "runtime/control/wire_error.h"
#include "runtime/job/serial.h"
#include "runtime/log/log.h"
#include "runtime/worker/fault.h"
#include "runtime/worker/join_world.h"
#include "runtime/worker/recipe.h"
#include "runtime/worker/virtual_run.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr std::chrono::milliseconds kAssignmentBound{120'000};
constexpr std::chrono::milliseconds kHelloAgain{2'000};
constexpr std::chrono::milliseconds kFlushBound{45'000}, kFlushAgain{2'000};
constexpr std::chrono::milliseconds kShutdownBound{5'000};
constexpr std::chrono::milliseconds kMovedEvery{100};
constexpr std::size_t kMaxInherited = 65536;

/// Sends rank 0's records to the agent; keeps its own log.
class ControlReporter final : public Reporter {
 public:
  explicit ControlReporter(ControlClient& control) : control_(control) {}

  /// How many were sent to be kept.
  long long records() const { return sequence_; }

  void metrics(const json& record) override {
    control_.send({{"type", "metrics"}, {"seq", sequence_++}, {"record", record}});
  }
  void event(const std::string& kind, const std::string& message, const json& details) override {
    log_info(kind + ": " + message);
    control_.send({{"type", "event"},
                   {"seq", sequence_++},
                   {"kind", kind},
                   {"message", message},
                   {"details", details}});
  }
  void samples(long long step, const std::vector<json>& lines) override {
    control_.send({{"type", "samples"}, {"seq", sequence_++}, {"step", step}, {"lines", lines}});
  }
  void moved(Moved what, long long step, double seconds) override {
    const auto now = std::chrono::steady_clock::now();
    if (what == moved_ && now - moved_at_ < kMovedEvery) return;
    moved_ = what;
    moved_at_ = now;
    constexpr const char* kNames[] = {"loading", "stepping", "saving", "other"};
    control_.send({{"type", "moved"},
                   {"activity", kNames[static_cast<int>(what)]},
                   {"step", step},
                   {"step_seconds", seconds}});
  }
  void copied(const MemoryCopy& copy) override {
    control_.send({{"type", "copied"},
                   {"step", copy.checkpoint.step},
                   {"name", copy.checkpoint.name},
                   {"parts", copy.parts},
                   {"part", copy.part},
                   {"replica", copy.replica}});
  }
  long long begin_flush() override {
    ask_to_flush(++flushes_);
    return flushes_;
  }
  bool is_flushed(long long number) override {
    take_all();
    if (flushed_ < number && std::chrono::steady_clock::now() - asked_at_ > kFlushAgain)
      ask_to_flush(flushes_);
    return flushed_ >= number;
  }
  /// What is asked may be lost on its way, so it is asked again. No checkpoint may be made of steps
  /// whose records nobody has: a run that resumed from it would never have them.
  void flush() override {
    const long long wanted = ++flushes_;
    const auto end = std::chrono::steady_clock::now() + kFlushBound;
    while (std::chrono::steady_clock::now() < end) {
      ask_to_flush(wanted);
      const auto again = std::chrono::steady_clock::now() + kFlushAgain;
      while (std::chrono::steady_clock::now() < again) {
        const auto message = control_.receive(std::chrono::milliseconds(100));
        if (message) take(*message);
        if (flushed_ >= wanted) return;
      }
    }
    log_error("the agent did not confirm the records within " + format_duration(kFlushBound) +
              "; this worker ends before they are part of a checkpoint");
    std::_Exit(70);
  }

  void damaged(const std::string& checkpoint) override { damaged_ = checkpoint; }
  const std::string& damaged() const { return damaged_; }

  /// Looks at what has come in; true once the coordinator asked to stop.
  bool stop_requested() {
    take_all();
    return stop_;
  }
  /// The newest request to save.
  SaveRequest save_requested() {
    take_all();
    return save_;
  }

 private:
  void ask_to_flush(long long number) {
    asked_at_ = std::chrono::steady_clock::now();
    control_.send({{"type", "flush"}, {"id", number}, {"records", sequence_}});
  }
  void take_all() {
    while (const auto message = control_.receive(std::chrono::milliseconds(0))) take(*message);
  }
  std::string take(const json& message) {
    const std::string type = message["type"];
    stop_ |= type == "stop";
    if (type == "flushed") flushed_ = std::max(flushed_, message.at("id").get<long long>());
    if (type == "save")
      save_ = {message.at("id").get<std::int64_t>(), message.at("at_step").get<std::int64_t>()};
    return type;
  }
  ControlClient& control_;
  long long flushes_ = 0;  // asked for
  long long flushed_ = 0;  // the newest that was answered: those before are, too
  std::chrono::steady_clock::time_point asked_at_{};
  long long sequence_ = 0;  // of the records: none is counted twice, none is missing unnoticed
  Moved moved_ = Moved::Loading;
  std::chrono::steady_clock::time_point moved_at_{};
  bool stop_ = false;
  SaveRequest save_;
  std::string damaged_;
};

/// Says hello until it is given work: either may be lost on its way.
Expected<std::unique_ptr<json>> wait_for_assignment(ControlClient& control, const json& hello) {
  const auto end = std::chrono::steady_clock::now() + kAssignmentBound;
  while (std::chrono::steady_clock::now() < end) {
    control.send(hello);
    const auto again = std::chrono::steady_clock::now() + kHelloAgain;
    while (std::chrono::steady_clock::now() < again) {
      auto message = control.receive(std::chrono::milliseconds(500));
      if (message && (*message)["type"] == "assign") return message;
    }
  }
  return fail(Code::DeadlineExceeded,
              "the coordinator assigned no work within " + format_duration(kAssignmentBound));
}

/// `lost`: which rank was gone, where an error says that one was.
Expected<RecipeEnd> work(const WorkerArguments& arguments, ControlClient& control,
                         ControlReporter& reporter, int& lost) {
  comm::check_messages(true);
  WEFT_TRY_ASSIGN(WorldPlace place, WorldPlace::open(arguments.world_descriptor, arguments.listen));
  const json hello = {{"type", "hello"},
                      {"pid", ::getpid()},
                      {"version", kControlVersion},
                      {"address", place.address()}};
  WEFT_TRY_ASSIGN(const auto assignment, wait_for_assignment(control, hello));
  if (!control.is_sealed(assignment->at("job").dump(), assignment->at("seal").get<std::string>()))
    return fail(Code::InvalidArgument,
                "refused a job that was not sealed by the agent that started this worker");
  WEFT_TRY_ASSIGN(const Job job, from_json(assignment->at("job")));
  WEFT_TRY(arm_fault(control.rank(), assignment->at("attempt").get<int>()));
  WEFT_TRY(fault_point(FaultAt::Forming));
  auto joined = place.join(control.rank(), job, *assignment);
  lost = place.missing_rank();
  WEFT_TRY_ASSIGN(const auto transport, std::move(joined));
  RecipeOptions options;
  options.checkpoints = assignment->at("checkpoints").get<std::string>();
  options.traces = assignment->at("traces").get<std::string>();
  options.memory = assignment->at("memory").get<std::string>();
  options.no_memory = assignment->at("no_memory").get<std::string>();
  options.node = assignment->at("node").get<std::string>();
  options.leaf = assignment->at("leaf").get<std::string>();
  if (!arguments.listen.empty()) {
    options.listen = arguments.listen;
    WEFT_TRY_ASSIGN(options.secret,
                    parse_secret(assignment->at("world").at("secret").get<std::string>()));
  }
  options.attempt = assignment->at("attempt").get<int>();
  options.fingerprint = assignment->at("fingerprint").get<std::string>();
  options.resume = assignment->at("resume").get<std::string>();
  options.resume_generation = assignment->at("resume_generation").get<std::int64_t>();
  options.stop_requested = [&reporter] { return reporter.stop_requested(); };
  options.save_requested = [&reporter] { return reporter.save_requested(); };
  SystemClock clock;
  if (job.device == "virtual") {
    ::prctl(PR_SET_TIMERSLACK, 1UL);  // the kernel may else wake it 50 us late, by default
    auto end = run_virtually(job, *transport, options, reporter, clock);
    lost = transport->lost_rank();
    return end;
  }
  auto recipe = Recipe::open(job, *transport, std::move(options), reporter, clock);
  lost = transport->lost_rank();
  if (!recipe) return tl::unexpected(recipe.error());
  log_info("ready: rank " + std::to_string(control.rank()) + " of " +
           std::to_string(transport->world_size()));
  auto end = (*recipe)->run();
  lost = transport->lost_rank();
  return end;
}

/// The coordinator lets go of a worker once it has read everything that the worker sent.
void wait_for_shutdown(ControlClient& control) {
  const auto end = std::chrono::steady_clock::now() + kShutdownBound;
  while (std::chrono::steady_clock::now() < end) {
    const auto message = control.receive(std::chrono::milliseconds(200));
    if (message && (*message)["type"] == "shutdown") return;
  }
}

}  // namespace

int worker_main(const WorkerArguments& arguments) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != arguments.parent) return 70;  // the coordinator died before we could ask
  // Ctrl-C reaches the whole terminal group, Slurm's --signal=USR1 a whole step: the agent answers.
  for (const int signal : {SIGINT, SIGUSR1}) ::signal(signal, SIG_IGN);
  const auto credentials = read_descriptor(arguments.control_descriptor,
                                           "the control plane's credentials", kMaxInherited);
  if (!credentials) {
    log_error(credentials.error().message + "; workers are started by 'weft run'");
    return 70;
  }
  const auto control = ControlClient::connect(*credentials);
  if (!control) {
    log_error(control.error().message);
    return 70;
  }
  ControlReporter reporter(**control);
  int lost = -1;
  const auto report_failure = [&](const Error& error) {
    log_error(error.message);
    const bool of_peer = error.code == Code::Unavailable || error.code == Code::DeadlineExceeded;
    json message = {{"type", "failed"},
                    {"blames", of_peer ? lost : -1},
                    {"damaged_checkpoint", reporter.damaged()}};
    put_error(message, error);
    (*control)->send(message);
    wait_for_shutdown(**control);
    return 70;
  };
  try {
    const Expected<RecipeEnd> end = work(arguments, **control, reporter, lost);
    if (!end) return report_failure(end.error());
    if (const auto fault = fault_point(FaultAt::Shutdown); !fault)
      return report_failure(fault.error());
    (*control)->send({{"type", "done"},
                      {"outcome", *end == RecipeEnd::Complete ? "complete" : "stopped"},
                      {"records", reporter.records()}});
    wait_for_shutdown(**control);
    return 0;
  } catch (const std::exception& error) {
    return report_failure({Code::Internal, std::string("unexpected exception: ") + error.what()});
  }
}

}  // namespace weft::runtime
