// Where a run's time went: useful steps, and what was lost to which cause. Every second between the
// start and now is counted exactly once.
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace weft::runtime {

enum class Loss {
  Restart,     // from the end of a generation to the first step of the next
  LostWork,    // steps done again, and the one that was under way
  Checkpoint,  // stalls while a checkpoint is taken
  Straggler,   // steps longer because of a slow device
  Hang,        // from the last step to the moment when the hang was seen
  Imbalance,   // steps longer because of busy experts
  Network      // steps longer because of link flaps
};
constexpr int kNumLosses = 7;
std::string_view to_string(Loss loss);  // "restart", ...

using LossSeconds = std::array<double, kNumLosses>;

class Goodput {
 public:
  /// A step that took `useful` seconds and what `lost` says.
  void step(long long step, double useful, const LossSeconds& lost);
  void lose(Loss loss, double seconds) { lost_[static_cast<int>(loss)] += seconds; }
  /// The run goes on after `step`: what was done since then is lost work. How many steps those are.
  int roll_back(long long step);
  /// Steps up to `step` can never be lost any more; they are forgotten one by one.
  void settle(long long step);

  double elapsed() const;
  double useful() const;
  double lost(Loss loss) const;
  /// 1 while nothing was counted.
  double share() const { return elapsed() > 0 ? useful() / elapsed() : 1; }
  /// {"elapsed_seconds", "productive_seconds", "goodput", "lost_seconds": {cause: seconds}}
  nlohmann::json to_json() const;
  /// One line a cause, the largest first.
  std::string text() const;

 private:
  struct Done {
    long long step = 0;
    double useful = 0;
    LossSeconds lost{};
  };
  std::vector<Done> open_;  // ascending step
  double useful_ = 0;
  LossSeconds lost_{};
};

}  // namespace weft::runtime
