#include "runtime/worker/virtual_run.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/worker/fault.h"
#include "runtime/worker/step_ring.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

double in_seconds(double nanoseconds) { return nanoseconds / 1e9; }
double in_seconds(std::int64_t nanoseconds) { return in_seconds(static_cast<double>(nanoseconds)); }

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

}  // namespace

json virtual_record(long long number, const VirtualStep& step, const VirtualPlan& plan, int lanes) {
  const double makespan = in_seconds(step.makespan_ns());
  std::vector<double> busy, bubble;
  double exchange = 0, exposed = 0, pair_exchange = 0, pair_exposed = 0, late = 0;
  for (const VirtualRankStep& rank : step.ranks) {
    busy.push_back(in_seconds(rank.busy_ns()));
    bubble.push_back(makespan - busy.back());
    exchange += in_seconds(rank.exchange_ns);
    exposed += in_seconds(rank.exposed_ns);
    pair_exchange += in_seconds(rank.pair_exchange_ns);
    pair_exposed += in_seconds(rank.pair_exposed_ns);
    late += in_seconds(rank.late_ns);
  }
  const double predicted = in_seconds(plan.timeline.makespan);
  std::vector<double> predicted_bubble;
  for (const double one : plan.timeline.bubble)
    predicted_bubble.insert(predicted_bubble.end(), static_cast<std::size_t>(lanes),
                            in_seconds(one));
  json record = {{"step", number},
                 {"stage", "virtual"},
                 {"stage_step", number},
                 {"step_seconds", in_seconds(step.step_ns())},
                 {"makespan_seconds", makespan},
                 {"predicted_makespan_seconds", predicted},
                 {"ratio", predicted > 0 ? makespan / predicted : 1.0},
                 {"busy_seconds", mean(busy)},
                 {"bubble_seconds", mean(bubble)},
                 {"predicted_bubble_seconds", mean(predicted_bubble)},
                 {"late_seconds", late},
                 {"busy_by_rank", busy},
                 {"bubble_by_rank", bubble},
                 {"predicted_bubble_by_rank", predicted_bubble}};
  if (exchange > 0) {
    record["exchange_seconds"] = exchange;
    record["hidden"] = hidden_share(exchange, exposed);
    record["predicted_hidden"] = hidden_share(plan.all.exchange, plan.all.exposed);
    record["hidden_in_pairs"] = hidden_share(pair_exchange, pair_exposed);
    record["predicted_hidden_in_pairs"] = hidden_share(plan.pairs.exchange, plan.pairs.exposed);
  }
  return record;
}

VirtualOptions virtual_options(const Job& job) {
  const VirtualJob& v = job.virtual_device;
  const auto length = [](double milliseconds) {
    return Duration(std::llround(milliseconds * 1e6));
  };
  VirtualOptions options;
  options.layout = {*dualpipe::parse_kind(job.parallel.schedule), job.parallel.pipeline,
                    job.parallel.data, job.parallel.expert, job.parallel.micro_batches};
  options.times.forward = length(v.forward_ms);
  options.times.backward_input = length(v.backward_input_ms);
  options.times.weight = length(v.weight_ms);
  options.times.exchange = length(v.exchange_ms);
  options.times.reduce = length(v.reduce_ms);
  options.times.update = length(v.update_ms);
  options.times.layers = v.layers;
  options.times.attention_share = v.attention_share;
  options.times.stage_factors = *parse_stage_factors(v.stage_factors);  // was validated
  options.times.message_bytes = static_cast<std::size_t>(v.message_bytes);
  options.times.dispatch_bytes = static_cast<std::size_t>(v.dispatch_bytes);
  options.times.reduce_bytes = static_cast<std::size_t>(v.reduce_bytes);
  options.overlap = job.parallel.overlap;
  options.wait_bound =
      std::chrono::milliseconds(static_cast<long long>(job.control.wait_bound_s * 1e3));
  return options;
}

Expected<RecipeEnd> run_virtually(const Job& job, comm::Transport& transport,
                                  const RecipeOptions& options, Reporter& reporter, Clock& clock) {
  WEFT_TRY_ASSIGN(const auto rank, VirtualRank::create(transport, clock, virtual_options(job)));
  const bool reports = rank->rank() == 0;
  const VirtualPlan& plan = rank->plan();
  const auto ring =
      open_step_ring({options.traces, options.attempt, job.trace.steps, rank->step_records()},
                     ring_info(virtual_options(job).layout, rank->place()), reporter, clock);
  if (ring) rank->set_recorder(&ring->recorder());
  if (reports) {
    reporter.event(
        "started",
        fmt::format("virtual device: a step should take {:.3f} s, of which a rank "
                    "computes {:.3f} s; no checkpoint is written",
                    in_seconds(plan.timeline.makespan), in_seconds(mean(plan.timeline.busy))),
        {{"step", 0}});
  }
  for (int step = 1; step <= job.virtual_device.steps; ++step) {
    if (ring) ring->recorder().begin_step(step, "virtual");
    fault_step(step);
    WEFT_TRY(fault_point(FaultAt::Compute));
    WEFT_TRY_ASSIGN(const VirtualStep done, rank->step(options.stop_requested()));
    if (ring) ring->recorder().end_step();
    reporter.moved(Reporter::Moved::Stepping, step, in_seconds(done.step_ns()));
    if (reports) reporter.metrics(virtual_record(step, done, plan, job.parallel.data));
    if (done.stop_requested && step < job.virtual_device.steps) return RecipeEnd::Stopped;
  }
  return RecipeEnd::Complete;
}

}  // namespace weft::runtime
