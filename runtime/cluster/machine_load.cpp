#include "runtime/cluster/machine_load.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/files.h"

namespace weft::runtime {
namespace {

// Of all cores: what a machine's own housekeeping takes.
constexpr double kNothing = 0.03;

std::optional<ProcessorTimes> now() {
  const auto stat = read_file("/proc/stat");
  if (!stat) return std::nullopt;
  return parse_processor_times(*stat, static_cast<double>(::sysconf(_SC_CLK_TCK)));
}

/// Of this process and its children that have ended.
double own_seconds() {
  double sum = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage{};
    ::getrusage(who, &usage);
    for (const timeval& t : {usage.ru_utime, usage.ru_stime})
      sum += static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  }
  return sum;
}

}  // namespace

std::optional<ProcessorTimes> parse_processor_times(std::string_view stat, double ticks) {
  constexpr std::string_view kFirst = "cpu ";
  if (!stat.starts_with(kFirst) || !(ticks > 0)) return std::nullopt;
  std::string_view line = stat.substr(kFirst.size(), stat.find('\n') - kFirst.size());
  // user nice system idle iowait irq softirq steal; guests are part of user and nice.
  double values[8] = {};
  for (double& value : values) {
    line.remove_prefix(std::min(line.size(), line.find_first_not_of(' ')));
    unsigned long long number = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number);
    if (error != std::errc()) return std::nullopt;
    line.remove_prefix(static_cast<std::size_t>(end - line.data()));
    value = static_cast<double>(number) / ticks;
  }
  const auto& [user, nice, system, idle, waiting, interrupts, soft, stolen] = values;
  return ProcessorTimes{user + nice + system + interrupts + soft, idle + waiting, stolen};
}

LoadWatch::LoadWatch() : begin_(now()), own_begin_(own_seconds()) {}

double LoadWatch::others() const {
  const auto end = now();
  if (!begin_ || !end) return 0;
  const double busy = end->busy - begin_->busy, stolen = end->stolen - begin_->stolen;
  const double all = busy + stolen + end->idle - begin_->idle;  // seconds of all cores
  if (!(all > 0)) return 0;
  const double cores = static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN));
  return std::max(0.0, busy + stolen - (own_seconds() - own_begin_)) / all * cores;
}

std::string load_warning(double others, double cores) {
  if (others < kNothing * cores) return "";
  return fmt::format(
      "the machine was busy: others had {:.2g} of {:.3g} cores meanwhile, so these figures are "
      "slower than a quiet machine's; measure again when it is quiet",
      others, cores);
}

}  // namespace weft::runtime
