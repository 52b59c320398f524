// Ranks, the schedule over them, and the virtual device.
#include <cmath>
#include <numeric>
#include <thread>

#include "dualpipe/schedule.h"
#include "runtime/job/fields.h"
#include "runtime/job/rules.h"
#include "runtime/job/validate.h"

namespace weft::runtime {
namespace {

/// "parallel.expert: 32 or 64": the divisors of `of` on both sides of a number that is none.
std::string nearest_divisors(int of, int wrong) {
  int below = 1, above = 0;
  for (int d = 1; d <= of && above == 0; ++d)
    if (of % d == 0) (d < wrong ? below : above) = d;
  return "parallel.expert: " + number(below) + (above > 0 ? " or " + number(above) : std::string());
}

/// "parallel.data: 64 or 128": multiples of `of` on both sides.
std::string nearest_multiples(int of, int wrong) {
  const int below = wrong / of * of;
  return "parallel.data: " + (below > 0 ? number(below) + " or " : std::string()) +
         number(below + of);
}

}  // namespace

void Rules::check_layout() {
  const ParallelJob& p = job_.parallel;
  const bool virtual_device = job_.device == "virtual";
  // What divides both the lanes and the experts, so that one change is enough.
  const int shards = virtual_device ? p.data : std::gcd(p.data, job_.model.n_routed_experts);
  const bool divides_experts = virtual_device || job_.model.n_routed_experts % p.expert == 0;
  if (p.data % p.expert != 0)
    error({"parallel.expert", "parallel.data"},
          "parallel.expert = " + number(p.expert) +
              " does not divide parallel.data = " + number(p.data),
          nearest_divisors(shards, p.expert) +
              (divides_experts ? ", or " + nearest_multiples(p.expert, p.data) : std::string()));
  if (!divides_experts)
    error({"parallel.expert", "model.n_routed_experts"},
          "parallel.expert = " + number(p.expert) +
              " does not divide model.n_routed_experts = " + number(job_.model.n_routed_experts),
          nearest_divisors(shards, p.expert));
  const int experts = job_.model.n_routed_experts, elsewhere = experts - experts / p.expert;
  if (p.redundant_experts > 0 && p.expert == 1)
    warn({"parallel.redundant_experts", "parallel.expert"},
         "parallel.redundant_experts = " + number(p.redundant_experts) +
             " is not used while parallel.expert = 1: every rank has all experts",
         "parallel.redundant_experts: 0");
  else if (p.redundant_experts > elsewhere)
    error({"parallel.redundant_experts", "model.n_routed_experts", "parallel.expert"},
          "parallel.redundant_experts = " + number(p.redundant_experts) + " is more than the " +
              number(elsewhere) + " experts that a rank does not hold",
          "at most " + number(elsewhere));
  const long long world = 1LL * p.pipeline * p.data;
  const unsigned cores = std::thread::hardware_concurrency();
  if (cores > 0 && world * p.threads > 4LL * cores && p.threads > 1)
    warn({"parallel.threads", "parallel.pipeline", "parallel.data"},
         number(world) + " workers x " + number(p.threads) + " threads on " + number(cores) +
             " cores will wait for each other",
         "parallel.threads: 1");
}

void Rules::check_schedule() {
  const ParallelJob& p = job_.parallel;
  const auto kind = dualpipe::parse_kind(p.schedule);
  if (!kind) {
    error({"parallel.schedule"}, kind.error().message, "");
    return;
  }
  const std::vector<std::string> sizes = {"parallel.pipeline", "parallel.micro_batches",
                                          "parallel.schedule"};
  const auto legal = dualpipe::check_size(*kind, {p.pipeline, p.micro_batches});
  if (!legal) {
    error(sizes,
          "parallel.pipeline = " + number(p.pipeline) +
              " and parallel.micro_batches = " + number(p.micro_batches) +
              " do not fit parallel.schedule = " + p.schedule + ": " + legal.error().message,
          p.pipeline == 1 ? "parallel.schedule: 1f1b takes any size" : "");
    return;
  }
  const int stages = dualpipe::num_stages(*kind, p.pipeline);
  if (job_.device != "virtual" && job_.model.num_hidden_layers < stages)
    error({"parallel.pipeline", "model.num_hidden_layers"},
          "parallel.pipeline = " + number(p.pipeline) + " makes " + number(stages) +
              " stages, but model.num_hidden_layers = " + number(job_.model.num_hidden_layers),
          "at least one layer a stage");
}

/// A time without its device is a misunderstanding; it changes nothing, so it is a warning.
void Rules::check_virtual_is_unused() {
  Job untouched;
  for (const Field& field : fields()) {
    if (group_of(field.path) != "virtual") continue;
    if (value_text(field, job_) != value_text(field, untouched))
      warn({field.path, "device"}, field.path + " is not used while device = " + job_.device,
           "device: virtual");
  }
}

void Rules::check_virtual() {
  const VirtualJob& v = job_.virtual_device;
  const ParallelJob& p = job_.parallel;
  if (v.forward_ms + v.backward_input_ms + v.weight_ms <= 0)
    error({"virtual.forward_ms", "virtual.backward_input_ms", "virtual.weight_ms"},
          "virtual.forward_ms, virtual.backward_input_ms and virtual.weight_ms are all 0: a step "
          "would take no time",
          "such as virtual.forward_ms: 20");
  check_stage_factors();
  if (v.exchange_ms > 0 && v.dispatch_bytes > 0 && p.expert == 1)
    warn({"virtual.exchange_ms", "parallel.expert"},
         "parallel.expert = 1: there is no other lane, so exchanges take their time but no bytes "
         "travel",
         "parallel.data: 2 and parallel.expert: 2, or virtual.dispatch_bytes: 0");
  if (p.expert > 1 && v.exchange_ms == 0)
    warn({"virtual.exchange_ms", "parallel.expert"},
         "parallel.expert = " + number(p.expert) +
             ", but virtual.exchange_ms = 0 leaves every exchange out",
         "such as virtual.exchange_ms: " + number(std::lround(v.forward_ms)));
  const double longest = v.forward_ms + v.backward_input_ms + v.weight_ms + 2 * v.exchange_ms;
  const double positions = p.pipeline + p.micro_batches;
  if (longest * positions > job_.control.wait_bound_s * 1e3)
    warn({"control.wait_bound", "virtual.forward_ms"},
         "a step may take longer than control.wait_bound, and a rank that waits for all of it "
         "would give up",
         "a longer control.wait_bound");
}

void Rules::check_stage_factors() {
  const auto factors = parse_stage_factors(job_.virtual_device.stage_factors);
  if (!factors) {
    error({"virtual.stage_factors"}, factors.error().message,
          "one number from 0 to 1000 a stage, separated by blanks");
    return;
  }
  const auto kind = dualpipe::parse_kind(job_.parallel.schedule);
  if (factors->empty() || !kind) return;
  const int stages = dualpipe::num_stages(*kind, job_.parallel.pipeline);
  if (static_cast<int>(factors->size()) != stages)
    error({"virtual.stage_factors", "parallel.schedule", "parallel.pipeline"},
          "virtual.stage_factors has " + number(static_cast<long long>(factors->size())) +
              " numbers, but " + job_.parallel.schedule + " over " +
              number(job_.parallel.pipeline) + " positions has " + number(stages) + " stages",
          "one number a stage");
}

}  // namespace weft::runtime
