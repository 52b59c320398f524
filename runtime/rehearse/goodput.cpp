#include "runtime/rehearse/goodput.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

namespace weft::runtime {
namespace {

constexpr const char* kNames[kNumLosses] = {"restart", "lost_work", "checkpoint", "straggler",
                                            "hang",    "imbalance", "network"};
constexpr const char* kTexts[kNumLosses] = {
    "start, restarts", "work done again",  "checkpoint stalls", "stragglers",
    "unnoticed hangs", "expert imbalance", "link flaps"};

double sum(const LossSeconds& lost) { return std::accumulate(lost.begin(), lost.end(), 0.0); }

}  // namespace

std::string_view to_string(Loss loss) { return kNames[static_cast<int>(loss)]; }

void Goodput::step(long long step, double useful, const LossSeconds& lost) {
  open_.push_back({step, useful, lost});
}

int Goodput::roll_back(long long step) {
  int count = 0;
  while (!open_.empty() && open_.back().step > step) {
    lose(Loss::LostWork, open_.back().useful + sum(open_.back().lost));
    open_.pop_back();
    ++count;
  }
  return count;
}

void Goodput::settle(long long step) {
  const auto end = std::ranges::find_if(open_, [&](const Done& done) { return done.step > step; });
  for (auto done = open_.begin(); done != end; ++done) {
    useful_ += done->useful;
    for (int i = 0; i < kNumLosses; ++i) lost_[i] += done->lost[i];
  }
  open_.erase(open_.begin(), end);
}

double Goodput::useful() const {
  double seconds = useful_;
  for (const Done& done : open_) seconds += done.useful;
  return seconds;
}

double Goodput::lost(Loss loss) const {
  double seconds = lost_[static_cast<int>(loss)];
  for (const Done& done : open_) seconds += done.lost[static_cast<int>(loss)];
  return seconds;
}

double Goodput::elapsed() const {
  double seconds = useful() + sum(lost_);
  for (const Done& done : open_) seconds += sum(done.lost);
  return seconds;
}

nlohmann::json Goodput::to_json() const {
  nlohmann::json lost_seconds = nlohmann::json::object();
  for (int i = 0; i < kNumLosses; ++i) lost_seconds[kNames[i]] = lost(static_cast<Loss>(i));
  return {{"elapsed_seconds", elapsed()},
          {"productive_seconds", useful()},
          {"goodput", share()},
          {"lost_seconds", std::move(lost_seconds)}};
}

std::string Goodput::text() const {
  std::vector<int> order(kNumLosses);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(
      order, [&](int a, int b) { return lost(static_cast<Loss>(a)) > lost(static_cast<Loss>(b)); });
  const double whole = std::max(elapsed(), 1e-9);
  std::string text = fmt::format("  {:<18} {:7.2f} %\n", "useful steps", 100 * useful() / whole);
  for (const int i : order) {
    const double seconds = lost(static_cast<Loss>(i));
    if (seconds > 0)
      text +=
          fmt::format("  {:<18} {:7.2f} %  {:.0f} s\n", kTexts[i], 100 * seconds / whole, seconds);
  }
  return text;
}

}  // namespace weft::runtime
