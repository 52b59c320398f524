#include "runtime/store/requests.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/text.h"
#include "runtime/store/private_directory.h"

namespace weft::runtime {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr int kVersion = 1;
constexpr std::size_t kMaxBytes = 65536;
constexpr std::size_t kMaxName = 64, kMaxReason = 1000;
constexpr std::size_t kMostAtOnce = 100;
constexpr double kLongest = 365 * 86400.0;  // seconds
constexpr std::int64_t kLastStep = std::int64_t{1} << 53;
constexpr const char* kNames[] = {"stop", "stop now", "pause",  "continue",
                                  "save", "exclude",  "include"};

Expected<void> check(const RunRequest& request) {
  const bool names =
      request.kind == RunRequest::Kind::Exclude || request.kind == RunRequest::Kind::Include;
  if (names && (request.node.empty() || request.node.size() > kMaxName))
    return fail(Code::InvalidArgument, "a request about a node needs its name");
  if (request.reason.size() > kMaxReason)
    return fail(Code::InvalidArgument, "a reason has at most 1,000 characters");
  if (!(request.seconds >= 0 && request.seconds <= kLongest))
    return fail(Code::InvalidArgument, "a node is excluded for at most a year");
  if (request.at_step < 0 || request.at_step > kLastStep)
    return fail(Code::InvalidArgument, "a step is a number from 0 on");
  return {};
}

Expected<RunRequest> parse(const std::string& text) {
  const json given = json::parse(text, nullptr, false);
  if (!given.is_object() || given.value("version", json()) != kVersion)
    return fail(Code::Corrupt, "it is no request of this version");
  const auto name = std::ranges::find(kNames, given.value("ask", json()));
  const json at_step = given.value("at_step", json(0)), seconds = given.value("seconds", json(0));
  const json node = given.value("node", json("")), reason = given.value("reason", json(""));
  if (name == std::end(kNames) || !at_step.is_number_integer() || !seconds.is_number() ||
      !node.is_string() || !reason.is_string())
    return fail(Code::Corrupt, "it asks for nothing that is known");
  RunRequest request{static_cast<RunRequest::Kind>(name - std::begin(kNames)),
                     at_step.get<std::int64_t>(),
                     node.get<std::string>(),
                     reason.get<std::string>(),
                     seconds.get<double>(),
                     ""};
  WEFT_TRY(check(request));
  return request;
}

}  // namespace

Expected<fs::path> put_request(const RunPaths& paths, const RunRequest& request,
                               const Clock& clock) {
  WEFT_TRY(check(request));
  WEFT_TRY(make_private_directory(paths.requests()));
  const auto now =
      std::chrono::duration_cast<std::chrono::nanoseconds>(clock.wall_now().time_since_epoch())
          .count();
  std::string stamp = std::to_string(now);
  stamp.insert(0, stamp.size() < 20 ? 20 - stamp.size() : 0, '0');  // by name is by time
  const fs::path path = paths.requests() / (stamp + "-" + std::to_string(::getpid()) + ".json");
  const json given = {{"version", kVersion},        {"ask", kNames[static_cast<int>(request.kind)]},
                      {"at_step", request.at_step}, {"node", request.node},
                      {"reason", request.reason},   {"seconds", request.seconds}};
  WEFT_TRY(write_file_atomically(
      path, given.dump(-1, ' ', false, json::error_handler_t::replace) + "\n", 0600));
  return path;
}

Expected<TakenRequests> take_requests(const RunPaths& paths) {
  TakenRequests taken;
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator entry(paths.requests(), error), end; !error && entry != end;
       entry.increment(error))
    if (entry->path().extension() == ".json") files.push_back(entry->path());
  if (error == std::errc::no_such_file_or_directory) return taken;
  if (error) return io_error("list", paths.requests(), error.value());
  std::ranges::sort(files);
  if (files.size() > kMostAtOnce) files.resize(kMostAtOnce);
  for (const fs::path& file : files) {
    const auto text = read_file(file, kMaxBytes);
    // First gone, then done: one that is done twice may end a run that was asked to save.
    if (!fs::remove(file, error)) continue;  // taken back, or taken by another leader
    auto request = text ? parse(*text) : Expected<RunRequest>(tl::unexpected(text.error()));
    if (request) {
      request->name = file.filename().string();
      taken.requests.push_back(std::move(*request));
    } else {
      taken.refused.push_back(file.filename().string() + ": " + request.error().message);
    }
  }
  return taken;
}

}  // namespace weft::runtime
