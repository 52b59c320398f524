// Steps, their lengths and their records; checkpoints; the run directory.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "base/units.h"
#include "runtime/rehearse/rehearsal_impl.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

// Of a step, run to run; what is left of noise when nothing is wrong. Assumed.
constexpr double kJitter = 0.003;
constexpr std::chrono::seconds kRingsEvery{2};  // in real time
constexpr long long kFullBatch = 1LL << 40;     // a step at which every ramp is over

}  // namespace

void Rehearsal::begin_stepping() {
  lose_until_now();
  const std::int64_t from = resume_ ? resume_->step : 0;
  lost_steps_ += goodput_.roll_back(from);
  tokens_.erase(tokens_.upper_bound(from), tokens_.end());
  tokens_now_ = tokens_.empty() ? 0 : tokens_.rbegin()->second;
  step_ = from;
  stepping_ = true;
  stepping_since_ = events_.now();
  events_.after(from_seconds(kCalmAfter), [this] { settle_pace(); });
  json details = {{"step", from}, {"synthetic", true}};
  if (resume_) details["checkpoint"] = resume_->name;
  make_record({{"type", "event"},
               {"kind", resume_ ? "resumed" : "started"},
               {"message", resume_ ? "[synthetic] resumed from " + resume_->name + " at step " +
                                         std::to_string(from)
                                   : "[synthetic] starting from initial weights"},
               {"details", details}},
              -1);
  begin_step();
}

double Rehearsal::extra_of_experts() const {
  double worst = 1;
  for (const auto& [until, factor] : imbalances_)
    if (until > events_.now()) worst = std::max(worst, factor);
  return (worst - 1) * times_.costs().expert_share;
}

/// The slowest pipeline: expert groups wait for their slow members.
double Rehearsal::slow_seconds() {
  std::erase_if(slow_, [&](const Slow& s) { return s.until <= events_.now(); });
  std::map<int, std::vector<double>> factors;  // by expert group index
  for (Slow& slow : slow_) {
    const int rank = rank_at(slow.node, slow.device);
    if (rank < 0) continue;
    const int position = rank / job_.parallel.data;
    const int group = rank % job_.parallel.data / job_.parallel.expert;
    std::vector<double>& of = factors[group];
    of.resize(static_cast<std::size_t>(job_.parallel.pipeline), 1.0);
    of[position] = std::max(of[position], slow.factor);
    if (slow.flagged) continue;
    slow.flagged = true;
    events_.after(from_seconds(assumed_.straggler_seconds), [this, slow, rank,
                                                             generation = generation_] {
      if (generation != generation_ || slow.until <= events_.now()) return;
      if (options_.swap_stragglers) set_calm(false);
      world_.ask(world_.now(), StragglerFlagged{generation, rank,
                                                fmt::format("[synthetic] {} computes {:.2f} times "
                                                            "as long as its peers",
                                                            place_of(rank), slow.factor)});
    });
  }
  double most = times_.seconds();
  for (const auto& [group, of] : factors) most = std::max(most, times_.seconds(of));
  return most;
}

void Rehearsal::begin_step() {
  Rng rng(options_.seed, "step time", static_cast<std::uint64_t>(step_ + 1));
  const double jitter = 1 + kJitter * std::abs(rng.normal());
  const Place place = place_of_step(step_ + 1);
  const std::optional<Course>& course = courses_[place.stage];
  const double share =
      course ? 1.0 * course->plan.batch(place.step - 1) / course->plan.batch(kFullBatch) : 1;
  const double scale = jitter * share;
  const double ideal = times_.seconds() * scale, slow = slow_seconds() * scale;
  step_useful_ = ideal;
  step_lost_ = {};
  step_lost_[static_cast<int>(Loss::Straggler)] = slow - ideal;
  step_lost_[static_cast<int>(Loss::Imbalance)] = slow * extra_of_experts();
  step_begin_ = events_.now();
  step_end_ = step_begin_ + from_seconds(slow * (1 + extra_of_experts()));
  events_.at(step_end_, [this, epoch = ++epoch_] { end_step(epoch); });
}

void Rehearsal::end_step(int epoch) {
  if (epoch != epoch_ || !stepping_) return;
  if (step_end_ > events_.now()) {  // a flap made it longer
    events_.at(step_end_, [this, epoch] { end_step(epoch); });
    return;
  }
  ++step_;
  last_step_seconds_ = seconds(events_.now() - step_begin_);
  record_step(step_useful_, step_lost_);
  traced_.push_back({step_, step_begin_, last_step_seconds_});
  if (std::ssize(traced_) > job_.trace.steps) traced_.erase(traced_.begin());
  show_rings();
  goodput_.step(step_, step_useful_, step_lost_);
  const bool last = step_ >= planned_steps() || stop_asked_;
  const bool wanted = save_ && step_ >= save_->at_step;
  if (last || wanted || step_ % job_.checkpoint.every_steps == 0) return take_checkpoint(last);
  begin_step();
}

/// For `weft trace` while somebody watches; otherwise the end's are enough.
void Rehearsal::show_rings() {
  const auto now = std::chrono::steady_clock::now();
  if (options_.speed <= 0 || now - rings_written_ < kRingsEvery) return;
  rings_written_ = now;
  note_failure(write_rings());
}

void Rehearsal::record_step(double, const LossSeconds& lost) {
  const Place place = place_of_step(step_);
  const std::string& stage = job_.recipe[place.stage];
  const std::optional<Course>& course = courses_[place.stage];
  const double before = tokens_now_;
  double tokens = 0;
  json record = {{"step", step_}, {"stage", stage}, {"stage_step", place.step}, {"applied", true}};
  if (course) {
    const int length = std::max(1, sequence_tokens(job_));
    tokens = 1.0 * course->plan.batch(place.step - 1) * length;
    record["lr"] = course->learning_rate(place.step - 1);
  } else {
    tokens = 1.0 * job_.grpo.prompts_per_step * job_.grpo.num_generations *
             job_.grpo.max_completion_length / 2;
    record["lr"] = job_.grpo.lr;
  }
  tokens_now_ += tokens;
  tokens_[step_] = tokens_now_;
  record.update(curves_.record(stage, step_, place.step, before));
  record["tokens"] = tokens_now_;
  record["step_seconds"] = last_step_seconds_;
  record["tokens_per_second"] = tokens / last_step_seconds_;
  record["goodput"] = goodput_.share();
  record["generation"] = generation_;
  for (int i = 0; i < kNumLosses; ++i)
    if (lost[i] > 0) record["lost/" + std::string(to_string(static_cast<Loss>(i)))] = lost[i];
  make_record({{"type", "metrics"}, {"record", record}}, step_);
  if (stage == "grpo" && (place.step == 1 || place.step % 10 == 0))
    note_failure(store_.write_samples(step_, curves_.samples(step_, place.step)));
}

void Rehearsal::take_checkpoint(bool last) {
  const double stall = assumed_.stall_seconds + (last ? assumed_.write_seconds : 0);
  goodput_.lose(Loss::Checkpoint, stall);
  saving_ = save_ ? save_->id : 0;
  save_.reset();
  const auto begin = [this, epoch = ++epoch_, last, step = step_, generation = generation_,
                      tokens = static_cast<std::int64_t>(tokens_now_)] {
    if (last) written(step, generation, tokens, true);
    if (epoch != epoch_ || !stepping_) return;
    if (last) return leave(stop_asked_);
    events_.after(from_seconds(assumed_.write_seconds),
                  [=, this] { written(step, generation, tokens, false); });
    begin_step();
  };
  events_.after(from_seconds(stall), begin);
  step_begin_ = events_.now() + from_seconds(stall);  // the stall is counted already
}

void Rehearsal::tell_save(std::int64_t, int, const SaveRequest& request) {
  if (!save_ || save_->id < request.id) save_ = request;
}

/// The last shard and the manifest are on storage, if the generation still lives.
void Rehearsal::written(std::int64_t step, std::int64_t generation, std::int64_t tokens,
                        bool last) {
  if (generation != generation_ || !stepping_) return;
  const auto name = checkpoints_.write(step, generation, tokens, format_time(clock_.wall_now()));
  if (!name) return note_failure(tl::unexpected(name.error()));
  make_record({{"type", "event"},
               {"kind", "checkpoint"},
               {"message", "[synthetic] saved " + *name},
               {"details",
                {{"step", step},
                 {"seconds", assumed_.stall_seconds},
                 {"write_seconds", assumed_.write_seconds},
                 {"name", *name},
                 {"synthetic", true}}}},
              step);
  tell(0, WorkerSaved{generation, 0, {step, generation, *name}, saving_});
  const std::int64_t settled = step - 1LL * job_.checkpoint.keep * job_.checkpoint.every_steps;
  goodput_.settle(settled);
  tokens_.erase(tokens_.begin(), tokens_.lower_bound(settled));
  if (corrupt_next_ == 0 || last) return;
  --corrupt_next_;
  if (const auto position = checkpoints_.damage(*name); !position)
    note_failure(tl::unexpected(position.error()));
}

void Rehearsal::leave(bool stopped_early) {
  stepping_ = false;
  down_as_ = Loss::Restart;
  down_since_ = events_.now();
  set_calm(false);
  for (std::size_t rank = 0; rank < workers_.size(); ++rank) {
    workers_[rank].phase = Worker::Phase::Done;
    tell(static_cast<int>(rank), WorkerDone{generation_, static_cast<int>(rank), stopped_early});
  }
}

// --- The run directory ---------------------------------------------------------------------------

/// Rank 0 makes it; its agent keeps it until the coordinator has it.
void Rehearsal::make_record(json record, std::int64_t step) {
  const std::int64_t sequence = next_record_[generation_]++;
  records_[generation_][sequence] = std::move(record);
  tell(0, RecordMade{generation_, 0, {sequence, step}});
}

/// The coordinator put it into its store; what came before it is there, too.
void Rehearsal::stored(std::int64_t generation, std::int64_t sequence) {
  auto& made = records_[generation];
  const auto found = made.find(sequence);
  if (found == made.end()) return;
  const json record = std::move(found->second);
  made.erase(made.begin(), std::next(found));
  if (record["type"] == "metrics") {
    note_failure(store_.append_metrics(record["record"]));
    if (observer_.step) observer_.step(record["record"]);
  } else {
    note_failure(store_.append_event(record["kind"], record["message"], record.at("details")));
    if (observer_.event) observer_.event(record["kind"], record["message"]);
  }
}

void Rehearsal::event(const std::string& kind, const std::string& message, json details) {
  details["synthetic"] = true;
  note_failure(store_.append_event(kind, message, details));
  if (observer_.event) observer_.event(kind, message);
}

/// A run's events are what people look for; hundreds of nodes that join are not.
void Rehearsal::said(const std::string& by, const std::string& reason) {
  log_ << "[synthetic] " << format_time(clock_.wall_now()) << " " << by << ": " << reason << "\n";
  const bool joins = reason.starts_with("node ") &&
                     (reason.find(" joined with ") < 16 || reason.ends_with(" is back"));
  if (by == "coordinator" && !joins) event("coordinator", "[synthetic] " + reason);
}

}  // namespace weft::runtime
