// Who else used the processors of this machine while something was measured.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace weft::runtime {

/// Processor seconds since the machine began, over all cores.
struct ProcessorTimes {
  double busy = 0;    // of anybody's work, in user or system mode
  double idle = 0;    // waiting for disks included
  double stolen = 0;  // that the host of a virtual machine gave to others
};

/// From the text of /proc/stat; none where it is not that. `ticks`: a second has so many.
std::optional<ProcessorTimes> parse_processor_times(std::string_view stat, double ticks);

/// From its construction on. Threads: one.
class LoadWatch {
 public:
  LoadWatch();
  /// Cores that anybody but this process and its ended children had since then, on average, and
  /// that were stolen; 0 where the machine does not say.
  double others() const;

 private:
  std::optional<ProcessorTimes> begin_;
  double own_begin_ = 0;
};

/// What to say of a measurement on `cores` while others had `others` of them; "" when they had next
/// to nothing.
std::string load_warning(double others, double cores);

}  // namespace weft::runtime
