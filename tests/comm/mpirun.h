// Runs this very test binary once more under mpirun, one process a rank.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace weft::comm {

/// How many ranks of the surrounding mpirun there are; 0: we are the parent.
inline int ranks_under_mpi() {
  const char* const ranks = std::getenv("WEFT_TEST_MPI_RANKS");
  return ranks == nullptr ? 0 : std::atoi(ranks);
}

/// "" or why tests over MPI are skipped here.
inline std::string why_no_mpi() {
  if (std::system("command -v mpirun > /dev/null 2>&1") != 0)
    return "mpirun is not installed (openmpi-bin)";
  const auto here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  if (!std::filesystem::exists(here.parent_path() / "libweft_comm_mpi.so"))
    return "libweft_comm_mpi.so was not built (libopenmpi-dev)";
  return "";
}

struct MpiRun {
  int exit_code = -1;  // 128 + n: signal n ended mpirun
  std::string output;
  int shared[2] = {0, 0};  // the first SharedCounters
  int segments_left = -1;  // of Open MPI's shared memory, after mpirun has ended
};

/// Runs the tests that `filter` names, on n ranks; ends everybody after two minutes.
inline MpiRun run_under_mpi(int n, const std::string& filter,
                            const std::vector<std::string>& more = {}) {
  char directory[] = "/dev/shm/weft-mpi-XXXXXX";
  if (::mkdtemp(directory) == nullptr) return {};
  const std::string base = directory;
  std::vector<std::string> words = {"mpirun",
                                    "-n",
                                    std::to_string(n),
                                    "--allow-run-as-root",
                                    "--oversubscribe",
                                    "--bind-to",
                                    "none",
                                    "--mca",
                                    "btl",
                                    "self,vader,tcp",
                                    "--mca",
                                    "btl_tcp_if_include",
                                    "lo",
                                    "--mca",
                                    "oob_tcp_if_include",
                                    "lo",
                                    "--mca",
                                    "mpi_yield_when_idle",
                                    "1",
                                    "--mca",
                                    "orte_tmpdir_base",
                                    base,
                                    "--mca",
                                    "btl_vader_backing_directory",
                                    base};
  words.insert(words.end(), more.begin(), more.end());
  words.push_back(std::filesystem::read_symlink("/proc/self/exe"));
  words.push_back("--gtest_filter=" + filter);
  words.push_back("--gtest_brief=1");
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setpgid(0, 0);
    if (std::freopen((base + "/output").c_str(), "w", stdout) == nullptr) ::_exit(126);
    ::dup2(1, 2);
    ::setenv("WEFT_TEST_MPI_RANKS", std::to_string(n).c_str(), 1);
    ::setenv("WEFT_TEST_SHARED_FILE", (base + "/shared").c_str(), 1);
    ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // Open MPI leaks
    ::setenv("TSAN_OPTIONS", "ignore_noninstrumented_modules=1", 1);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  MpiRun run;
  int status = 0;
  for (int waited_ms = 0; ::waitpid(pid, &status, WNOHANG) == 0; waited_ms += 10) {
    if (waited_ms == 100'000) ::kill(pid, SIGTERM);  // mpirun ends its ranks
    if (waited_ms == 105'000) ::kill(-pid, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  run.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  std::stringstream text;
  text << std::ifstream(base + "/output").rdbuf();
  run.output = text.str();
  std::ifstream(base + "/shared").read(reinterpret_cast<char*>(run.shared), sizeof run.shared);
  std::error_code error;
  run.segments_left = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(base, error))
    run.segments_left += entry.path().filename().string().starts_with("vader_segment");
  std::filesystem::remove_all(base, error);
  return run;
}

}  // namespace weft::comm
