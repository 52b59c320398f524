#include "runtime/cli/ask_run.h"

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "base/units.h"
#include "runtime/cli/verbs.h"
#include "runtime/store/lease.h"

namespace weft::cli {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::chrono::seconds kTakenBound{15};    // also over a change of leader
constexpr std::chrono::seconds kAnsweredBound{3};  // some requests have no answer: it is so already
constexpr std::chrono::milliseconds kLook{50};

/// Until it is so, at most `bound`.
template <class IsSo>
bool wait_for(const Clock& clock, Duration bound, const IsSo& is_so) {
  const Instant end = clock.now() + bound;
  for (;;) {
    if (is_so()) return true;
    if (clock.now() >= end) return false;
    SystemClock().sleep_until(SystemClock().now() + kLook);
  }
}

std::uintmax_t size_of(const fs::path& path) {
  std::error_code error;
  const std::uintmax_t size = fs::file_size(path, error);
  return error ? 0 : size;
}

/// What the coordinator said to the request of this name, from there on.
std::optional<std::string> answer_from(const fs::path& events, std::uintmax_t begin,
                                       const std::string& asked) {
  std::ifstream file(events);
  file.seekg(static_cast<std::streamoff>(begin));
  for (std::string line; std::getline(file, line) && !file.eof();) {
    const json event = json::parse(line, nullptr, false);
    if (!event.is_object()) continue;
    const json message = event.value("message", json());
    if (event.value("asked", json()) == asked && message.is_string())
      return message.get<std::string>();
  }
  return std::nullopt;
}

}  // namespace

int ask_run(const std::string& run, const runtime::RunRequest& request, Io& io) {
  const auto root = find_run(run);
  if (!root) return report(root.error(), io);
  const runtime::RunPaths paths{*root};
  if (!runtime::is_alive(paths))
    return report(Error{Code::Unavailable, "nobody works on " + root->string() +
                                               "; how it is: weft status " + root->string() +
                                               "; to go on with it: weft resume " + root->string()},
                  io);
  const std::uintmax_t said = size_of(paths.events());
  const auto file = runtime::put_request(paths, request, io.clock);
  if (!file) return report(file.error(), io);
  std::error_code error;
  const bool taken =
      wait_for(io.clock, kTakenBound, [&] { return !fs::exists(*file, error) && !error; });
  if (!taken && fs::remove(*file, error))
    return report(
        Error{Code::DeadlineExceeded,
              "nobody took the request within " + format_duration(kTakenBound) +
                  ", so it was withdrawn; who leads the run: weft status " + root->string()},
        io);
  std::optional<std::string> answer;
  wait_for(io.clock, kAnsweredBound, [&] {
    return (answer = answer_from(paths.events(), said, file->filename().string())).has_value();
  });
  io.out << answer.value_or("taken; the run said nothing to it: it is so already, or the run ends")
         << "\n";
  return kOk;
}

}  // namespace weft::cli
