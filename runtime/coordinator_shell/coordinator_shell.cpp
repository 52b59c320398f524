#include "runtime/coordinator_shell/coordinator_shell.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/descriptor.h"
#include "runtime/control/wire_error.h"
#include "runtime/coordinator_shell/coordinator_loop.h"
#include "runtime/log/log.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr std::size_t kMaxSetup = 65536;

Expected<int> coordinate(const CoordinatorArguments& arguments, const StatusPipe& status,
                         const Clock& clock) {
  WEFT_TRY_ASSIGN(const std::string text, read_descriptor(arguments.setup_descriptor,
                                                          "the coordinator's setup", kMaxSetup));
  WEFT_TRY_ASSIGN(const CoordinatorSetup setup, parse_setup(text));
  return CoordinatorLoop(setup, status, clock).run();
}

}  // namespace

int coordinator_main(const CoordinatorArguments& arguments, const Clock& clock) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != arguments.parent) return kCoordinatorRefused;  // the agent died before
  ::signal(SIGPIPE, SIG_IGN);
  // The agent's: a terminal sends them to its whole group, Slurm (--signal) to a whole step.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) ::signal(signal, SIG_IGN);
  const StatusPipe status(arguments.status_descriptor);
  const auto code = coordinate(arguments, status, clock);
  if (code) return *code;
  log_error(code.error().message);
  json failed = {{"type", "failed"}};
  put_error(failed, code.error());
  status.say(failed);
  return kCoordinatorRefused;
}

}  // namespace weft::runtime
