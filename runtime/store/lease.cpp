#include "runtime/store/lease.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "base/files.h"

namespace weft::runtime {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;

constexpr std::chrono::seconds kFresh{3}, kWatched{6};
constexpr std::chrono::milliseconds kPause{100};
constexpr std::size_t kMaxClaimBytes = 1 << 20;

struct Look {
  std::int64_t term = 0;  // the highest; 0: nobody ever claimed one
  std::string claim;      // as it stands in the file
  friend bool operator==(const Look&, const Look&) = default;
};

fs::path directory_of(const RunPaths& paths, std::int64_t term) {
  return paths.terms() / std::to_string(term);
}

Look look_at(const RunPaths& paths) {
  Look look;
  std::error_code error;
  for (fs::directory_iterator entry(paths.terms(), error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    std::int64_t number = 0;
    const auto [last, bad] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (bad == std::errc() && last == name.data() + name.size())
      look.term = std::max(look.term, number);
  }
  if (const auto text = read_file(directory_of(paths, look.term) / "claim.json", kMaxClaimBytes))
    look.claim = *text;
  return look;
}

/// Nobody needs to be waited for: the claim was given up, or its holder wrote the run's end.
bool is_over(const RunPaths& paths, const Look& look) {
  std::error_code error;
  if (look.term == 0 || !fs::exists(paths.keys(), error)) return true;
  if (fs::exists(directory_of(paths, look.term) / "end.json", error)) return true;
  const json claim = json::parse(look.claim, nullptr, false);
  return claim.is_object() && claim.value("abdicated", json()) == true;
}

bool is_fresh(const RunPaths& paths, const Look& look) {
  std::error_code error;
  const auto written = fs::last_write_time(directory_of(paths, look.term) / "claim.json", error);
  if (error) return false;
  const auto age = fs::file_time_type::clock::now() - written;
  return age < kFresh && age > -kFresh;
}

}  // namespace

std::vector<bool> are_led(const std::vector<RunPaths>& runs) {
  std::vector<bool> led(runs.size(), false);
  std::vector<std::pair<std::size_t, Look>> watched;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    Look look = look_at(runs[i]);
    if (is_over(runs[i], look)) continue;
    led[i] = is_fresh(runs[i], look);
    if (!led[i]) watched.emplace_back(i, std::move(look));
  }
  const auto until = SteadyClock::now() + kWatched;
  while (!watched.empty() && SteadyClock::now() < until) {
    std::this_thread::sleep_for(kPause);
    std::erase_if(watched, [&](const auto& one) {
      const auto& [i, before] = one;
      const Look now = look_at(runs[i]);
      led[i] = now != before && !is_over(runs[i], now);
      return now != before;
    });
  }
  return led;
}

bool is_alive(const RunPaths& paths) { return is_locked(paths) || are_led({paths}).front(); }

}  // namespace weft::runtime
