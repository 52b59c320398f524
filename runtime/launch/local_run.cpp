#include "runtime/launch/local_run.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <deque>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "comm/local/local_transport.h"
#include "runtime/control/control.h"
#include "runtime/control/wire_error.h"
#include "runtime/job/serial.h"
#include "runtime/launch/process.h"
#include "runtime/watch/diagnose.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr std::chrono::milliseconds kTick{200};
constexpr int kControlDescriptor = 3;  // what the credentials are inherited as

/// Signals as a readable descriptor while it lives; the old mask comes back afterwards.
class SignalDescriptor {
 public:
  SignalDescriptor() {
    sigset_t wanted;
    sigemptyset(&wanted);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&wanted, signal);
    ::sigprocmask(SIG_BLOCK, &wanted, &before_);
    descriptor_ = ::signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
  }
  ~SignalDescriptor() {
    ::close(descriptor_);
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  SignalDescriptor(const SignalDescriptor&) = delete;
  SignalDescriptor& operator=(const SignalDescriptor&) = delete;

  int get() const { return descriptor_; }
  /// How often a person asked to stop since the last call.
  int take_stops() {
    int stops = 0;
    signalfd_siginfo info;
    while (::read(descriptor_, &info, sizeof info) == sizeof info)
      stops += info.ssi_signo != SIGCHLD;
    return stops;
  }

 private:
  sigset_t before_;
  int descriptor_ = -1;
};

class LocalRun {
 public:
  LocalRun(const Job& job, RunStore& store, const RunObserver& observer, const Clock& clock)
      : job_(job), store_(store), observer_(observer), clock_(clock) {}
  ~LocalRun() {
    // Only when starting failed half way: nobody may outlive the run.
    for (const pid_t pid : pids_)
      if (pid > 0) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
      }
  }

  LocalRunResult run() {
    const Expected<void> started = start();
    if (!started) return finish_failed(started.error());
    while (state_.phase != CoordinatorState::Phase::Ended) {
      const int descriptors[] = {signals_.get()};
      const auto incoming = control_->poll(kTick, descriptors);
      if (!incoming)
        apply(ShellFailed{incoming.error()});
      else
        for (const Incoming& one : *incoming) take_message(one);
      for (int stops = signals_.take_stops(); stops > 0; --stops) apply(StopAsked{});
      reap();
      apply(Tick{});
    }
    LocalRunResult result;
    result.outcome = state_.outcome;
    result.reason = state_.reason;
    result.culprit = state_.culprit;
    if (state_.outcome == Outcome::Failed) result.error = {state_.cause, state_.reason};
    return result;
  }

 private:
  int world() const { return job_.parallel.pipeline * job_.parallel.data; }

  LocalRunResult finish_failed(const Error& error) {
    LocalRunResult result;
    result.error = error;
    result.reason = error.message;
    return result;
  }

  Expected<void> start() {
    WEFT_TRY_ASSIGN(control_, ControlServer::open(job_.control.host, job_.control.port, world()));
    WEFT_TRY_ASSIGN(comm::LocalWorld memory, comm::LocalWorld::create(world()));
    memory_ = std::make_unique<comm::LocalWorld>(std::move(memory));
    std::error_code error;
    std::filesystem::create_directories(store_.paths().logs(), error);
    if (error) return io_error("create", store_.paths().logs(), error.value());
    pids_.assign(world(), -1);
    for (int rank = 0; rank < world(); ++rank) WEFT_TRY(start_worker(rank));
    state_ = start_state(world(), clock_.now(), coordinator_options_);
    return {};
  }

  Expected<void> start_worker(int rank) {
    WEFT_TRY_ASSIGN(const int credentials, anonymous_file(control_->credentials(rank)));
    SpawnOptions options;
    options.arguments = {"/proc/self/exe", "worker",
                         "--world",        std::to_string(memory_->descriptor()),
                         "--control",      std::to_string(kControlDescriptor),
                         "--parent",       std::to_string(::getpid())};
    options.environment = {{"OMP_NUM_THREADS", std::to_string(job_.parallel.threads)},
                           {"OMP_WAIT_POLICY", "passive"}};
    options.log = store_.paths().worker_log(rank);
    options.inherit_from = credentials;
    options.inherit_as = kControlDescriptor;
    const Expected<pid_t> pid = spawn(options);
    ::close(credentials);
    if (!pid) return tl::unexpected(pid.error());
    pids_[rank] = *pid;
    return {};
  }

  void take_message(const Incoming& incoming) {
    const std::string type = incoming.message->at("type");
    const auto taken = [&]() -> Expected<void> {
      try {
        return take(incoming.rank, type, *incoming.message);
      } catch (const json::exception& error) {
        return fail(Code::Corrupt, "worker " + std::to_string(incoming.rank) +
                                       " sent a malformed '" + type + "' message: " + error.what());
      }
    }();
    if (!taken) apply(ShellFailed{taken.error()});
  }

  /// A worker's message is input: what is missing in it, or of another type, throws.
  Expected<void> take(int rank, const std::string& type, const json& message) {
    if (type == "hello") {
      apply(WorkerHello{rank});
    } else if (type == "metrics") {
      const json& record = message.at("record");
      WEFT_TRY(step_of(rank, record));
      WEFT_TRY(store_.append_metrics(record));
      if (observer_.step) observer_.step(record);
    } else if (type == "event") {
      return take_event(rank, message);
    } else if (type == "samples") {
      WEFT_TRY_ASSIGN(const long long step, step_of(rank, message));
      return store_.write_samples(step, message.at("lines").get<std::vector<json>>());
    } else if (type == "flush") {
      control_->send(rank, {{"type", "flushed"}, {"id", message.at("id")}});
    } else if (type == "done") {
      apply(WorkerDone{rank, message.at("outcome") == "stopped"});
    } else if (type == "failed") {
      Error error = take_error(message);
      if (error.code == Code::DeadlineExceeded) explain(error.message);
      apply(WorkerFailed{rank, std::move(error)});
    }
    return {};
  }

  Expected<void> take_event(int rank, const json& message) {
    const std::string kind = message.at("kind"), text = message.at("message");
    const json& details = message.at("details");
    if (kind == "started" || kind == "resumed") {
      // From here on the steps after this one are done anew.
      WEFT_TRY_ASSIGN(const long long step, step_of(rank, details));
      WEFT_TRY(store_.truncate_after(step));
    }
    WEFT_TRY(store_.append_event(kind, text, details));
    if (observer_.event) observer_.event(kind, text);
    return {};
  }

  static Expected<long long> step_of(int rank, const json& object) {
    const json& step = object.at("step");
    if (!step.is_number_integer() || step < 0)
      return fail(Code::Corrupt, "worker " + std::to_string(rank) + " sent step " + step.dump());
    return step.get<long long>();
  }

  /// Once: who waited for whom, while everybody still stands where it stood.
  void explain(std::string& message) {
    if (explained_ || state_.phase != CoordinatorState::Phase::Running) return;
    explained_ = true;
    const auto diagnosis = diagnose_run(store_.paths().traces(), clock_);
    const std::string text = diagnosis ? diagnosis->text : diagnosis.error().message;
    message += "\n  " + text;
    (void)store_.append_event("diagnosis", text, diagnosis ? to_json(*diagnosis) : json::object());
  }

  void reap() {
    for (int rank = 0; rank < world(); ++rank) {
      int status = 0;
      if (pids_[rank] <= 0 || ::waitpid(pids_[rank], &status, WNOHANG) != pids_[rank]) continue;
      pids_[rank] = -1;
      if (WIFSIGNALED(status)) {
        std::string unused;  // its reason is its signal; the event tells where it stood
        explain(unused);
      }
      // What it still said before it went comes first: it may name the cause.
      if (const auto last = control_->poll(std::chrono::milliseconds(20), {}))
        for (const Incoming& one : *last) take_message(one);
      apply(WorkerExited{rank, WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                         WIFSIGNALED(status) ? WTERMSIG(status) : 0});
    }
  }

  void apply(const Event& event) {
    Decision decision = decide(std::move(state_), event, clock_.now(), coordinator_options_);
    state_ = std::move(decision.state);
    for (const CoordinatorAction& action : decision.actions)
      std::visit([this](const auto& what) { act(what); }, action);
    if (!decision.reason.empty()) {
      const std::string kind = state_.outcome != Outcome::Failed ? "coordinator"
                               : state_.culprit >= 0             ? "worker_failed"
                                                                 : "run_failed";
      (void)store_.append_event(kind, decision.reason, json::object());
      if (observer_.event) observer_.event(kind, decision.reason);
    }
  }

  void act(const SendAssignment& assignment) {
    json message = {{"type", "assign"},
                    {"checkpoints", store_.paths().checkpoints().string()},
                    {"traces", store_.paths().traces().string()},
                    {"attempt", store_.attempt()},
                    {"fingerprint", fingerprint(job_)}};
    message["job"] = to_json(job_);
    control_->send(assignment.rank, message);
  }
  void act(const SendStop& stop) {
    control_->send(stop.rank, {{"type", "stop"}, {"reason", "asked to stop"}});
  }
  void act(const SendShutdown& shutdown) { control_->send(shutdown.rank, {{"type", "shutdown"}}); }
  void act(const AbortWaits& abort) { memory_->abort(abort.reason); }
  void act(const KillWorker& kill) {
    if (pids_[kill.rank] > 0) ::kill(pids_[kill.rank], kill.hard ? SIGKILL : SIGTERM);
  }

  const Job& job_;
  RunStore& store_;
  const RunObserver& observer_;
  const Clock& clock_;
  const CoordinatorOptions coordinator_options_;
  SignalDescriptor signals_;
  std::unique_ptr<ControlServer> control_;
  std::unique_ptr<comm::LocalWorld> memory_;
  std::vector<pid_t> pids_;
  CoordinatorState state_;
  bool explained_ = false;
};

}  // namespace

LocalRunResult run_locally(const Job& job, RunStore& store, const RunObserver& observer,
                           const Clock& clock) {
  return LocalRun(job, store, observer, clock).run();
}

std::string last_log_lines(const std::filesystem::path& log, int count) {
  std::ifstream file(log);
  std::deque<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(std::move(line));
    if (static_cast<int>(lines.size()) > count) lines.pop_front();
  }
  std::string text;
  for (const std::string& line : lines) text += line + '\n';
  return text;
}

}  // namespace weft::runtime
