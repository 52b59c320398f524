#include "runtime/agent/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "base/files.h"

extern char** environ;

namespace weft::runtime {

Expected<int> anonymous_file(const std::string& content) {
  const int descriptor = ::memfd_create("weft", MFD_CLOEXEC);
  if (descriptor < 0) return io_error("create", "an anonymous file", errno);
  if (::pwrite(descriptor, content.data(), content.size(), 0) !=
      static_cast<ssize_t>(content.size())) {
    const int reason = errno;
    ::close(descriptor);
    return io_error("write", "an anonymous file", reason);
  }
  return descriptor;
}

namespace {
constexpr int kAboveInherited = 64;
}

Expected<pid_t> spawn(const SpawnOptions& options) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, options.log.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                   0644);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  // Copies far above every number that is handed down: none may overwrite another.
  std::vector<int> copies;
  for (const auto& [from, as] : options.inherit) {
    copies.push_back(::fcntl(from, F_DUPFD_CLOEXEC, kAboveInherited));
    posix_spawn_file_actions_adddup2(&files, copies.back(), as);
  }
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);

  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    bool replaced = false;
    for (const auto& [name, value] : options.environment) replaced |= text.starts_with(name + "=");
    if (!replaced) variables.emplace_back(text);
  }
  for (const auto& [name, value] : options.environment) variables.push_back(name + "=" + value);
  std::vector<char*> environment, arguments;
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);
  std::vector<std::string> words = options.arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, words[0].c_str(), &files, &attributes, arguments.data(),
                                  environment.data());
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  for (const int copy : copies) ::close(copy);
  if (error != 0) return io_error("start " + words[0] + " with its log", options.log, error);
  return pid;
}

}  // namespace weft::runtime
