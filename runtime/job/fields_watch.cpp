// The table's chapter on watching ranks: who is slow, and whose numbers cannot be.
#include "runtime/job/fields.h"

#define WEFT_AT(member) [](Job& job) -> Slot { return &job.watch.member; }

namespace weft::runtime {
namespace {

constexpr auto kMay = OnResume::MayChange;

void add_stragglers(std::vector<Field>& out) {
  out.push_back({.path = "watch.straggler_threshold",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(straggler_threshold),
                 .range = {0, 1},
                 .help = "A rank is flagged as a straggler when the best of its peers (ranks with "
                         "the same stages) needs less than this share of its time, or it needed "
                         "less than this share itself at its best. Time is busy time, without any "
                         "wait. 0: nobody is flagged.",
                 .interacts = "watch.straggler_window; trace.steps = 0 measures nothing",
                 .example = "0.75",
                 .names = {{"NVRx", "gpu_relative_perf_threshold"}},
                 .on_resume = kMay});
  out.push_back({.path = "watch.straggler_window",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(straggler_window),
                 .range = {1, 10'000},
                 .unit = "steps",
                 .help = "A score is made of the medians over so many steps.",
                 .interacts = "watch.straggler_threshold",
                 .example = "20",
                 .names = {{"NVRx", "report_time_interval"}},
                 .on_resume = kMay});
  out.push_back({.path = "watch.swap_stragglers",
                 .type = FieldType::Bool,
                 .slot = WEFT_AT(swap_stragglers),
                 .help = "Ask for a spare in the place of a rank that is a straggler for two "
                         "windows running.",
                 .interacts = "watch.straggler_threshold; there must be spare nodes",
                 .example = "false",
                 .on_resume = kMay});
}

void add_numbers(std::vector<Field>& out) {
  out.push_back({.path = "watch.replay",
                 .type = FieldType::Bool,
                 .slot = WEFT_AT(replay),
                 .help = "A step whose loss or gradient is not finite, or a spike, is done once "
                         "more from the same inputs. The same bits: the data or the model are the "
                         "cause, and the update is left out. Other bits: a rank computed wrong.",
                 .interacts = "watch.spike_factor, watch.output_hashes, watch.on_corruption",
                 .example = "true",
                 .on_resume = kMay});
  out.push_back({.path = "watch.output_hashes",
                 .type = FieldType::Bool,
                 .slot = WEFT_AT(output_hashes),
                 .help = "Hash what each stage gives out in every step, so that a replay with "
                         "other bits names the first stage and rank that computed otherwise.",
                 .interacts = "watch.replay",
                 .example = "true",
                 .on_resume = kMay});
  out.push_back({.path = "watch.spike_factor",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(spike_factor),
                 .range = {0, 1e9},
                 .help = "Supervised stages: a loss or gradient norm above so many times its "
                         "median over the last 16 updates counts as one that is not finite: the "
                         "update is left out. 0: no limit.",
                 .interacts = "watch.replay",
                 .example = "10",
                 .on_resume = kMay});
  out.push_back({.path = "watch.on_corruption",
                 .type = FieldType::Choice,
                 .slot = WEFT_AT(on_corruption),
                 .choices = {"stop", "continue"},
                 .help =
                     "When a replay had other bits. stop: the run ends and names the rank; what "
                     "that rank computed before is in doubt too. continue: an event names it, "
                     "and the numbers count that two tries agree on.",
                 .interacts = "watch.replay, watch.output_hashes",
                 .example = "stop",
                 .on_resume = kMay});
}

}  // namespace

void add_watch_fields(std::vector<Field>& out) {
  add_stragglers(out);
  add_numbers(out);
}

}  // namespace weft::runtime
