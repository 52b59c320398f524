#include "runtime/agent/coordinator_child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/files.h"
#include "runtime/agent/process.h"
#include "runtime/control/whole_number.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr int kSetupDescriptor = 3, kStatusDescriptor = 4;
constexpr std::size_t kMaxLine = 1 << 20;

}  // namespace

std::string to_text(const CoordinatorSetup& setup) {
  return json{{"run", setup.run.string()}, {"term", setup.term},
              {"node", setup.node},        {"incarnation", setup.incarnation},
              {"host", setup.host},        {"port", setup.port},
              {"begins", setup.begins},    {"keys", to_text(setup.keys)}}
      .dump();
}

Expected<CoordinatorSetup> parse_setup(const std::string& text) {
  const json given = json::parse(text, nullptr, false);
  CoordinatorSetup setup;
  try {
    setup.run = given.at("run").get<std::string>();
    setup.term = whole(given.at("term"));
    setup.node = given.at("node").get<std::string>();
    setup.incarnation = whole<std::uint64_t>(given.at("incarnation"));
    setup.host = given.at("host").get<std::string>();
    setup.port = whole<int>(given.at("port"));
    setup.begins = given.at("begins").get<bool>();
    WEFT_TRY_ASSIGN(setup.keys, parse_run_keys(given.at("keys").get<std::string>()));
  } catch (const json::exception& error) {
    return fail(Code::InvalidArgument, "coordinators are started by 'weft run' and 'weft agent'");
  }
  return setup;
}

Expected<std::unique_ptr<CoordinatorChild>> CoordinatorChild::start(
    const CoordinatorSetup& setup, const std::filesystem::path& log) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC | O_NONBLOCK) != 0) return io_error("open", "a pipe", errno);
  const auto told = anonymous_file(to_text(setup));
  Expected<pid_t> pid = told ? Expected<pid_t>(-1) : tl::unexpected(told.error());
  if (told) {
    SpawnOptions options;
    options.arguments = {"/proc/self/exe", "coordinator",
                         "--setup",        std::to_string(kSetupDescriptor),
                         "--status",       std::to_string(kStatusDescriptor),
                         "--parent",       std::to_string(::getpid())};
    options.environment = {{"OMP_NUM_THREADS", "1"}};
    options.log = log;
    options.inherit = {{*told, kSetupDescriptor}, {pipe[1], kStatusDescriptor}};
    pid = spawn(options);
    ::close(*told);
  }
  ::close(pipe[1]);
  if (!pid) {
    ::close(pipe[0]);
    return tl::unexpected(pid.error());
  }
  return std::unique_ptr<CoordinatorChild>(new CoordinatorChild(setup.term, *pid, pipe[0]));
}

CoordinatorChild::~CoordinatorChild() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  ::close(pipe_);
}

std::vector<json> CoordinatorChild::hear() {
  std::vector<json> said;
  char buffer[4096];
  for (ssize_t n; (n = ::read(pipe_, buffer, sizeof buffer)) > 0;)
    text_.append(buffer, static_cast<std::size_t>(n));
  for (std::size_t end; (end = text_.find('\n')) != std::string::npos; text_.erase(0, end + 1)) {
    json object = json::parse(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(end),
                              nullptr, false);
    if (object.is_object() && object.contains("type") && object["type"].is_string())
      said.push_back(std::move(object));
  }
  if (text_.size() > kMaxLine) text_.clear();
  return said;
}

std::optional<CoordinatorExited> CoordinatorChild::ended() {
  int status = 0;
  if (pid_ <= 0 || ::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  pid_ = -1;
  using How = CoordinatorExited::How;
  if (WIFSIGNALED(status))
    return CoordinatorExited{term_, How::Crashed, Outcome::Undecided,
                             "signal " + std::to_string(WTERMSIG(status))};
  const int code = WEXITSTATUS(status);
  const How how = code == kCoordinatorEnded         ? How::Ended
                  : code == kCoordinatorSteppedDown ? How::SteppedDown
                  : code == kCoordinatorAbdicated   ? How::Abdicated
                  : code == kCoordinatorRefused     ? How::Refused
                                                    : How::Crashed;
  return CoordinatorExited{term_, how, Outcome::Undecided, "exit code " + std::to_string(code)};
}

void CoordinatorChild::kill() {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

}  // namespace weft::runtime
