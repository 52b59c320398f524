// The binary: hands the world (streams, terminal, environment, clock) to the command line.
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "runtime/cli/app.h"
#include "runtime/coordinator_shell/coordinator_shell.h"
#include "runtime/worker/worker_main.h"

namespace {

int terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* columns = std::getenv("COLUMNS");
  const int width = columns == nullptr ? 0 : std::atoi(columns);
  return width > 0 ? width : 100;
}

bool wants_color(bool tty) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  const bool refused = no_color != nullptr && no_color[0] != '\0';
  return tty && !refused && (term == nullptr || std::strcmp(term, "dumb") != 0);
}

std::vector<std::pair<std::string, std::string>> our_environment() {
  std::vector<std::pair<std::string, std::string>> ours;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::size_t equals = text.find('=');
    if (text.starts_with("WEFT__") && equals != std::string::npos)
      ours.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return ours;
}

/// `weft worker`, which only an agent starts: numbers of inherited descriptors.
int run_worker(int argc, char** argv) {
  weft::runtime::WorkerArguments arguments;
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const int value = std::atoi(argv[i + 1]);
    if (name == "--world") arguments.world_descriptor = value;
    if (name == "--control") arguments.control_descriptor = value;
    if (name == "--parent") arguments.parent = value;
    if (name == "--listen") arguments.listen = argv[i + 1];
  }
  if (arguments.world_descriptor < 0 || arguments.control_descriptor < 0) {
    std::cerr << "weft: error: workers are started by 'weft run'\n";
    return weft::cli::kUsage;
  }
  return weft::runtime::worker_main(arguments);
}

/// `weft coordinator`, the same way.
int run_coordinator(int argc, char** argv) {
  weft::runtime::CoordinatorArguments arguments;
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const int value = std::atoi(argv[i + 1]);
    if (name == "--setup") arguments.setup_descriptor = value;
    if (name == "--status") arguments.status_descriptor = value;
    if (name == "--parent") arguments.parent = value;
  }
  if (arguments.setup_descriptor < 0 || arguments.status_descriptor < 0) {
    std::cerr << "weft: error: coordinators are started by 'weft run' and 'weft agent'\n";
    return weft::cli::kUsage;
  }
  return weft::runtime::coordinator_main(arguments, weft::SystemClock());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "worker") == 0) return run_worker(argc, argv);
  if (argc > 1 && std::strcmp(argv[1], "coordinator") == 0) return run_coordinator(argc, argv);
  // A batch system sends it to every process of a step, also to those that do not wait for it yet.
  std::signal(SIGUSR1, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);  // `weft logs | head` ends with an error of the stream, not of us
  const weft::SystemClock clock;
  const bool out_tty = ::isatty(STDOUT_FILENO) == 1, err_tty = ::isatty(STDERR_FILENO) == 1;
  weft::cli::Io io{.in = std::cin,
                   .out = std::cout,
                   .err = std::cerr,
                   .clock = clock,
                   .out_tty = out_tty,
                   .err_tty = err_tty,
                   .width = terminal_width(),
                   .color_out = wants_color(out_tty),
                   .color_err = wants_color(err_tty),
                   .environment = our_environment()};
  return weft::cli::run_cli({argv + 1, argv + argc}, io);
}
