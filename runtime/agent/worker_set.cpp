#include "runtime/agent/worker_set.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "comm/local/local_transport.h"
#include "runtime/control/control.h"
#include "runtime/control/wire_error.h"
#include "runtime/job/serial.h"
#include "runtime/launch/process.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr int kControlDescriptor = 3, kWorldDescriptor = 4;  // as the workers inherit them

/// Types of messages that are records: kept until the coordinator has written them down.
bool is_record(const std::string& type) {
  return type == "metrics" || type == "event" || type == "samples";
}

long long number_in(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<long long>() : -1;
}

}  // namespace

WorkerSet::WorkerSet(const Job& job, WorkerSetOptions options, const RecordObserver& observer)
    : job_(job), options_(std::move(options)), observer_(observer) {}

Expected<std::unique_ptr<WorkerSet>> WorkerSet::start(const Job& job, WorkerSetOptions options,
                                                      const RecordObserver& observer) {
  std::unique_ptr<WorkerSet> set(new WorkerSet(job, std::move(options), observer));
  WEFT_TRY(set->open());
  return set;
}

WorkerSet::~WorkerSet() {
  if (memory_) memory_->abort("the generation has ended");
  for (const pid_t pid : pids_)
    if (pid > 0) ::kill(pid, SIGKILL);
  for (const pid_t pid : pids_)
    if (pid > 0) ::waitpid(pid, nullptr, 0);
}

Expected<void> WorkerSet::open() {
  WEFT_TRY_ASSIGN(control_, ControlServer::open("127.0.0.1", 0, options_.ranks));
  WEFT_TRY_ASSIGN(comm::LocalWorld memory, comm::LocalWorld::create(options_.world));
  // Each worker is handed it by name; nobody else that is started from here may hold it.
  ::fcntl(memory.descriptor(), F_SETFD, FD_CLOEXEC);
  memory_ = std::make_unique<comm::LocalWorld>(std::move(memory));
  std::error_code error;
  std::filesystem::create_directories(options_.paths.logs(), error);
  if (error) return io_error("create", options_.paths.logs(), error.value());
  WEFT_TRY_ASSIGN(spool_, SpoolWriter::open(options_.paths.spool(), options_.generation,
                                            options_.node));
  json assignment = {{"type", "assign"},
                     {"checkpoints", options_.paths.checkpoints().string()},
                     {"traces", options_.paths.traces().string()},
                     {"attempt", options_.attempt},
                     {"generation", options_.generation},
                     {"fingerprint", fingerprint(job_)}};
  assignment["job"] = to_json(job_);
  assignment_ = assignment.dump();
  pids_.assign(options_.ranks.size(), -1);
  for (std::size_t i = 0; i < pids_.size(); ++i) WEFT_TRY(start_worker(i));
  return {};
}

Expected<void> WorkerSet::start_worker(std::size_t index) {
  const int rank = options_.ranks[index];
  WEFT_TRY_ASSIGN(const int credentials, anonymous_file(control_->credentials(rank)));
  SpawnOptions options;
  options.arguments = {"/proc/self/exe", "worker",
                       "--world",        std::to_string(kWorldDescriptor),
                       "--control",      std::to_string(kControlDescriptor),
                       "--parent",       std::to_string(::getpid())};
  options.environment = {{"OMP_NUM_THREADS", std::to_string(job_.parallel.threads)},
                         {"OMP_WAIT_POLICY", "passive"}};
  options.log = options_.paths.worker_log(rank);
  options.inherit = {{credentials, kControlDescriptor}, {memory_->descriptor(), kWorldDescriptor}};
  const Expected<pid_t> pid = spawn(options);
  ::close(credentials);
  if (!pid) return tl::unexpected(pid.error());
  pids_[index] = *pid;
  return {};
}

std::vector<pid_t> WorkerSet::processes() const { return pids_; }

bool WorkerSet::all_gone() const {
  return std::ranges::all_of(pids_, [](pid_t pid) { return pid <= 0; });
}

Expected<std::vector<WorkerNews>> WorkerSet::poll(std::chrono::milliseconds timeout,
                                                  std::span<const int> descriptors) {
  std::vector<WorkerNews> news;
  WEFT_TRY(listen(timeout, descriptors, news));
  reap(news);
  return news;
}

Expected<void> WorkerSet::listen(std::chrono::milliseconds timeout,
                                 std::span<const int> descriptors, std::vector<WorkerNews>& news) {
  WEFT_TRY_ASSIGN(const auto incoming, control_->poll(timeout, descriptors));
  for (const Incoming& one : incoming) WEFT_TRY(take(one.rank, *one.message, news));
  return {};
}

void WorkerSet::reap(std::vector<WorkerNews>& news) {
  for (std::size_t i = 0; i < pids_.size(); ++i) {
    int status = 0;
    if (pids_[i] <= 0 || ::waitpid(pids_[i], &status, WNOHANG) != pids_[i]) continue;
    pids_[i] = -1;
    // What it still said before it went comes first: it may name the cause.
    (void)listen(std::chrono::milliseconds(20), {}, news);
    news.emplace_back(WorkerGone{options_.ranks[i], WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                                 WIFSIGNALED(status) ? WTERMSIG(status) : 0});
  }
}

/// A worker's message is input: what is missing in it, or of another type, throws.
Expected<void> WorkerSet::take(int rank, const json& message, std::vector<WorkerNews>& news) {
  const std::string type = message.at("type");
  try {
    if (is_record(type)) {
      WEFT_TRY(spool_->append(rank, message.at("seq").get<long long>(), message));
      observe(type, message, news);
    } else if (type == "flush") {
      control_->send(rank, {{"type", "flushed"}, {"id", message.at("id")}});
    } else if (type == "hello") {
      news.emplace_back(WorkerSaidHello{rank});
    } else if (type == "done") {
      news.emplace_back(WorkerFinished{rank, message.at("outcome") == "stopped"});
    } else if (type == "failed") {
      news.emplace_back(WorkerSaidFailed{rank, take_error(message)});
    }
  } catch (const json::exception& error) {
    news.emplace_back(WorkerSaidFailed{
        rank, Error{Code::Corrupt, "it sent a malformed '" + type + "' message: " + error.what()}});
  }
  return {};
}

void WorkerSet::observe(const std::string& type, const json& message,
                        std::vector<WorkerNews>& news) {
  if (type == "metrics") {
    const json& record = message.at("record");
    const auto took = record.find("step_seconds");
    const bool timed = took != record.end() && took->is_number();
    news.emplace_back(
        WorkersStepped{number_in(record, "step"), timed ? took->get<double>() : 0.0});
    if (observer_.step) observer_.step(record);
  } else if (type == "event") {
    const std::string kind = message.at("kind"), text = message.at("message");
    if (kind == "checkpoint")
      news.emplace_back(WorkersSaved{number_in(message.at("details"), "step")});
    if (observer_.event) observer_.event(kind, text);
  }
}

void WorkerSet::assign(int rank) { control_->send_text(rank, assignment_); }

void WorkerSet::ask_to_stop() {
  for (const int rank : options_.ranks)
    control_->send(rank, {{"type", "stop"}, {"reason", "asked to stop"}});
}

void WorkerSet::let_go(int rank) { control_->send(rank, {{"type", "shutdown"}}); }

void WorkerSet::abort(const std::string& reason) { memory_->abort(reason); }

void WorkerSet::kill(int rank, bool hard) {
  const auto at = std::ranges::find(options_.ranks, rank);
  if (at == options_.ranks.end()) return;
  const pid_t pid = pids_[static_cast<std::size_t>(at - options_.ranks.begin())];
  if (pid > 0) ::kill(pid, hard ? SIGKILL : SIGTERM);
}

}  // namespace weft::runtime
