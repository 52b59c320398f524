#include "runtime/agent/worker_set.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "comm/local/local_transport.h"
#include "runtime/agent/process.h"
#include "runtime/control/control.h"
#include "runtime/control/whole_number.h"
#include "runtime/control/wire_error.h"
#include "runtime/job/serial.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr int kControlDescriptor = 3, kWorldDescriptor = 4;  // as the workers inherit them

/// Types of messages that are records: kept until the coordinator has written them down.
bool is_record(const std::string& type) {
  return type == "metrics" || type == "event" || type == "samples";
}

std::int64_t step_of(const std::string& type, const json& message) {
  if (type == "event") return -1;  // history: kept whatever becomes of its step
  const json& step = type == "metrics" ? message.at("record").at("step") : message.at("step");
  return whole(step);
}

Activity activity_of(const std::string& name) {
  return name == "stepping" ? Activity::Stepping
         : name == "saving" ? Activity::Saving
         : name == "other"  ? Activity::Other
                            : Activity::Loading;
}

/// The state letter of /proc/<pid>/stat: 'T' when it was stopped.
char process_state(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  const std::size_t name_end = text.rfind(')');  // a name may hold anything
  return name_end == std::string::npos || name_end + 2 >= text.size() ? '?' : text[name_end + 2];
}

}  // namespace

WorkerSet::WorkerSet(const Job& job, WorkerSetOptions options)
    : job_(job), options_(std::move(options)) {
  std::ranges::sort(options_.ranks);
}

Expected<std::unique_ptr<WorkerSet>> WorkerSet::make(const Job& job, WorkerSetOptions options) {
  std::unique_ptr<WorkerSet> set(new WorkerSet(job, std::move(options)));
  WEFT_TRY(set->open());
  return set;
}

WorkerSet::~WorkerSet() {
  if (memory_) memory_->abort("the generation has ended");
  for (const auto& [rank, worker] : workers_)
    if (worker.pid > 0) ::kill(worker.pid, SIGKILL);
  for (const auto& [rank, worker] : workers_)
    if (worker.pid > 0) ::waitpid(worker.pid, nullptr, 0);
}

Expected<void> WorkerSet::open() {
  WEFT_TRY_ASSIGN(control_, ControlServer::open("127.0.0.1", 0, options_.ranks));
  WEFT_TRY_ASSIGN(comm::LocalWorld memory,
                  comm::LocalWorld::create(static_cast<int>(options_.ranks.size())));
  // Each worker is handed it by name; nobody else that is started from here may hold it.
  ::fcntl(memory.descriptor(), F_SETFD, FD_CLOEXEC);
  memory_ = std::make_unique<comm::LocalWorld>(std::move(memory));
  std::error_code error;
  std::filesystem::create_directories(options_.paths.logs(), error);
  if (error) return io_error("create", options_.paths.logs(), error.value());
  return {};
}

Expected<void> WorkerSet::spawn_worker(int rank) {
  WEFT_TRY_ASSIGN(const int credentials, anonymous_file(control_->credentials(rank)));
  SpawnOptions options;
  options.arguments = {"/proc/self/exe", "worker",
                       "--world",        std::to_string(kWorldDescriptor),
                       "--control",      std::to_string(kControlDescriptor),
                       "--parent",       std::to_string(::getpid())};
  if (spans_nodes()) {
    options.arguments.emplace_back("--listen");
    options.arguments.push_back(options_.listen);
  }
  options.environment = {{"OMP_NUM_THREADS", std::to_string(job_.parallel.threads)},
                         {"OMP_WAIT_POLICY", "passive"}};
  options.log = options_.paths.worker_log(rank);
  options.inherit = {{credentials, kControlDescriptor}, {memory_->descriptor(), kWorldDescriptor}};
  const Expected<pid_t> pid = spawn(options);
  ::close(credentials);
  if (!pid) return tl::unexpected(pid.error());
  workers_.emplace_back(rank, Worker{*pid, 0});
  return {};
}

WorkerSet::Worker* WorkerSet::find(int rank) {
  const auto at = std::ranges::find(workers_, rank, [](const auto& one) { return one.first; });
  return at == workers_.end() ? nullptr : &at->second;
}

Expected<WorkerNews> WorkerSet::poll(std::chrono::milliseconds timeout,
                                     std::span<const int> descriptors) {
  WorkerNews news;
  WEFT_TRY(listen(timeout, descriptors, news));
  reap(news);
  return news;
}

Expected<void> WorkerSet::listen(std::chrono::milliseconds timeout,
                                 std::span<const int> descriptors, WorkerNews& news) {
  WEFT_TRY_ASSIGN(const auto incoming, control_->poll(timeout, descriptors));
  for (const Incoming& one : incoming) take(one.rank, *one.message, news);
  return {};
}

void WorkerSet::reap(WorkerNews& news) {
  for (auto& [rank, worker] : workers_) {
    int status = 0;
    if (worker.pid <= 0 || ::waitpid(worker.pid, &status, WNOHANG) != worker.pid) continue;
    worker.pid = -1;
    // What it still said before it went comes first: it may name the cause.
    (void)listen(std::chrono::milliseconds(20), {}, news);
    news.events.emplace_back(WorkerExited{options_.generation,
                                          rank,
                                          WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                                          WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                                          {}});
  }
}

/// A worker's message is input: what is missing in it, or of another type, throws.
void WorkerSet::take(int rank, const json& message, WorkerNews& news) {
  const std::string type = message.at("type");
  const std::int64_t generation = options_.generation;
  try {
    if (is_record(type)) {
      take_record(rank, type, message, news);
    } else if (type == "moved") {
      const double took = message.at("step_seconds").get<double>();
      news.events.emplace_back(
          WorkerMoved{generation, rank, activity_of(message.at("activity").get<std::string>()),
                      whole(message.at("step")), 0,
                      Duration(took >= 0 && took < 1e9 ? std::llround(took * 1e9) : 0)});
    } else if (type == "copied") {
      news.events.emplace_back(WorkerCopied{
          generation,
          rank,
          {{whole(message.at("step")), generation, message.at("name").get<std::string>()},
           whole<int>(message.at("parts")),
           whole<int>(message.at("part")),
           whole<int>(message.at("replica"))}});
    } else if ((type == "flush" || type == "done") &&
               miss_records(rank, whole(message.value("records", json(0))), news)) {
      // No answer, and not done: the generation ends.
    } else if (type == "flush") {
      news.events.emplace_back(FlushAsked{generation, rank, whole(message.at("id"))});
    } else if (type == "hello") {
      news.events.emplace_back(WorkerHello{generation, rank, message.value("address", "")});
    } else if (type == "done") {
      news.events.emplace_back(
          WorkerDone{generation, rank, message.at("outcome").get<std::string>() == "stopped"});
    } else if (type == "failed") {
      news.events.emplace_back(WorkerFailed{generation, rank, take_error(message),
                                            whole<int>(message.value("blames", json(-1))),
                                            message.value("damaged_checkpoint", "")});
    }
  } catch (const json::exception& error) {
    news.events.emplace_back(WorkerFailed{
        generation, rank,
        Error{Code::Corrupt, "it sent a malformed '" + type + "' message: " + error.what()}, -1,
        ""});
  }
}

/// The worker says that it has sent so many records by now.
bool WorkerSet::miss_records(int rank, std::int64_t sent, WorkerNews& news) {
  const Worker* worker = find(rank);
  if (worker == nullptr || sent <= worker->records) return false;
  news.events.emplace_back(WorkerFailed{
      options_.generation, rank,
      Error{Code::Unavailable, "record " + std::to_string(worker->records) +
                                   " was lost on its way to the agent; its steps are done again"},
      -1, ""});
  return true;
}

void WorkerSet::take_record(int rank, const std::string& type, const json& message,
                            WorkerNews& news) {
  Worker* worker = find(rank);
  // Counted up by the worker as well: one that came twice is one, and one that never came (its
  // connection broke) must not be missing without anybody's knowing.
  const auto sequence = whole(message.at("seq"));
  if (worker == nullptr || sequence < worker->records) return;
  if (miss_records(rank, sequence, news)) return;
  if (type == "event" && message.at("kind") == "checkpoint") {
    const json& details = message.at("details");
    news.events.emplace_back(WorkerSaved{
        options_.generation,
        rank,
        {whole(details.at("step")), options_.generation, details.at("name").get<std::string>()},
        whole(details.value("request", json(0)))});
  }
  const RecordKey key{worker->records, step_of(type, message)};
  ++worker->records;
  news.events.emplace_back(RecordMade{options_.generation, rank, key});
  news.records.push_back({options_.generation, rank, key,
                          message.dump(-1, ' ', false, json::error_handler_t::replace)});
}

void WorkerSet::assign(int rank, const std::optional<Checkpoint>& resume,
                       const std::vector<std::string>* addresses) {
  json assignment = {{"type", "assign"},
                     {"checkpoints", options_.paths.checkpoints().string()},
                     {"traces", options_.paths.traces().string()},
                     {"memory", options_.memory.string()},
                     {"no_memory", options_.no_memory},
                     {"node", options_.node},
                     {"leaf", options_.leaf},
                     {"attempt", options_.generation},
                     {"resume", resume ? resume->name : ""},
                     {"resume_generation", resume ? resume->generation : 0},
                     {"fingerprint", fingerprint(job_)}};
  assignment["job"] = to_json(job_);
  assignment["seal"] = control_->seal(assignment["job"].dump());
  if (spans_nodes())
    assignment["world"] = {
        {"run", job_.name},
        {"ranks_here", options_.ranks},
        {"addresses", addresses == nullptr ? std::vector<std::string>() : *addresses},
        {"secret", to_text(options_.secret)}};
  control_->send(rank, assignment);
}

void WorkerSet::ask_to_stop(int rank) {
  control_->send(rank, {{"type", "stop"}, {"reason", "asked to stop"}});
}

void WorkerSet::ask_to_save(int rank, const SaveRequest& save) {
  control_->send(rank, {{"type", "save"}, {"id", save.id}, {"at_step", save.at_step}});
}

void WorkerSet::let_go(int rank) { control_->send(rank, {{"type", "shutdown"}}); }

void WorkerSet::answer_flush(int rank, std::int64_t id) {
  control_->send(rank, {{"type", "flushed"}, {"id", id}});
}

void WorkerSet::abort(const std::string& reason) { memory_->abort(reason); }

void WorkerSet::kill(int rank, bool hard) {
  const Worker* worker = find(rank);
  if (worker != nullptr && worker->pid > 0) ::kill(worker->pid, hard ? SIGKILL : SIGTERM);
}

std::vector<int> WorkerSet::stopped() const {
  std::vector<int> ranks;
  for (const auto& [rank, worker] : workers_)
    if (worker.pid > 0 && process_state(worker.pid) == 'T') ranks.push_back(rank);
  return ranks;
}

}  // namespace weft::runtime
