// Engine::begin_save: each tensor is written once, by its owner, under its name, so that any layout
// can resume what any other wrote.
#include <array>
#include <random>
#include <utility>

#include "runtime/worker/engine.h"
#include "runtime/worker/gather_or_fail.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/saver.h"

namespace weft::runtime {

namespace checkpoint = trainer::checkpoint;

namespace {

constexpr std::chrono::milliseconds kSaveRound{1000};  // ranks tell each other how their saves go

std::vector<checkpoint::ExpectedTensor> expected_tensors(const ShardedOptimizer& optimizer,
                                                         bool reference, bool average) {
  std::vector<checkpoint::ExpectedTensor> expected;
  for (const auto& [name, info] : optimizer.tensors()) {
    expected.push_back({"model", name, info.shape});
    if (reference) expected.push_back({"ref", name, info.shape});
    if (!info.trainable) continue;
    if (average) expected.push_back({"ema", name, info.shape});
    expected.push_back({"optim", name + kMoment1, info.shape});
    expected.push_back({"optim", name + kMoment2, info.shape});
  }
  return expected;
}

}  // namespace

Expected<void> Engine::make_saver() {
  // What tells this incarnation's files from those of one that died in the same directory.
  std::uint64_t drawn = 0;
  if (world_->rank() == 0) {
    std::random_device device;
    drawn = std::uint64_t{device()} << 32 | device();
  }
  WEFT_TRY(comm::broadcast(*world_, 0, std::as_writable_bytes(std::span(&drawn, 1))));
  saver_mark_ = std::to_string(drawn);
  checkpoint::SaverOptions saver;
  saver.rank = rank();
  saver.world = placement_.layout.world();
  saver.mark = saver_mark_;
  saver_ = std::make_unique<checkpoint::Saver>(std::move(saver), *clock_);
  return {};
}

template <class Visit>
void Engine::each_tensor(const Visit& visit) const {
  const auto moments_dtype =
      optimizer_->options().bf16_moments ? checkpoint::Dtype::BF16 : checkpoint::Dtype::F32;
  std::size_t tensor = 0;  // of the average
  for (const ShardedOptimizer::Owned& owned : optimizer_->owned()) {
    const trainer::Parameter& item = owned.set->items()[owned.parameter];
    const auto floats = [](std::span<const float> values) { return std::as_bytes(values); };
    visit("model", item, "", checkpoint::Dtype::F32, floats(owned.set->value(owned.parameter)));
    if (has_reference())
      for (std::size_t i = 0; i < stages_.size(); ++i)
        if (&stages_[i].model->parameters() == owned.set)
          visit("ref", item, "", checkpoint::Dtype::F32,
                floats(std::span(reference_[i]).subspan(item.offset, item.size)));
    if (owned.moments == nullptr) continue;
    visit("optim", item, kMoment1, moments_dtype, owned.moments->bytes(0));
    visit("optim", item, kMoment2, moments_dtype, owned.moments->bytes(1));
    if (average_)
      visit("ema", item, "", checkpoint::Dtype::F32, floats(average_->average(tensor++)));
  }
}

void Engine::take_snapshot() {
  const Instant begin = clock_->now();
  if (!snapshot_.buffer) snapshot_.buffer = saver_->borrow();
  copy_state(*snapshot_.buffer);
  snapshot_.taken = true;
  snapshot_.stall_seconds += seconds(clock_->now() - begin);
}

std::size_t Engine::state_bytes() const {
  if (average_) average_->finish();
  std::size_t bytes = 0;
  each_tensor([&](const char*, const trainer::Parameter&, const char*, checkpoint::Dtype,
                  std::span<const std::byte> values) { bytes += values.size(); });
  return bytes;
}

void Engine::copy_state(checkpoint::Snapshot& into) const {
  into.clear(state_bytes());
  each_tensor([&](const char* part, const trainer::Parameter& item, const char* suffix,
                  checkpoint::Dtype dtype, std::span<const std::byte> values) {
    into.add({part, item.name + suffix, item.shape, nullptr, {}, {}, dtype}, values);
  });
}

checkpoint::ManifestInfo Engine::describe_save(const SaveInfo& info) const {
  checkpoint::ManifestInfo manifest;
  manifest.attempt = info.attempt;
  manifest.step = info.step;
  if (rank() == 0) {
    const scheduler::Layout& layout = placement_.layout;
    manifest.run = info.run;
    manifest.tokens = info.tokens;
    manifest.wall_time = info.wall_time;
    manifest.writer = "weft " WEFT_VERSION;
    manifest.model_fingerprint = info.fingerprint;
    manifest.parent = info.parent;
    manifest.layout = {layout.pipeline, layout.data, layout.expert,
                       std::string(dualpipe::to_string(layout.kind))};
    manifest.state = info.state;
    manifest.expected = expected_tensors(*optimizer_, has_reference(), has_average());
    manifest.keep = info.keep;
    manifest.keep_every_steps = info.keep_every_steps;
    manifest.keep_every_seconds = info.keep_every_seconds;
  }
  return manifest;
}

void Engine::begin_save(const SaveInfo& info) {
  if (!snapshot_.taken) take_snapshot();
  const Instant begin = clock_->now();
  saver_->begin(std::move(snapshot_.buffer), info.directory, describe_save(info));
  snapshot_.asked = snapshot_.wanted = snapshot_.taken = false;
  snapshot_.stall_seconds += seconds(clock_->now() - begin);
}

Expected<std::vector<Engine::Saved>> Engine::finished_saves() { return take_ended(*saver_); }

Expected<std::vector<Engine::Saved>> Engine::take_ended(checkpoint::Saver& saver) {
  WEFT_TRY_ASSIGN(std::vector<checkpoint::Saved> ended, saver.take_finished());
  std::vector<Saved> saved;
  for (checkpoint::Saved& one : ended)
    saved.push_back({static_cast<long long>(one.step), std::move(one.name), one.bytes,
                     one.write_seconds, one.commit_seconds, std::move(one.warnings)});
  return saved;
}

Expected<std::vector<Engine::Saved>> Engine::finish_saves() {
  // In rounds, so that a slow disk is not taken for a silent rank.
  for (;;) {
    const bool idle = saver_->wait_idle(std::min(options_.wait_bound / 4, kSaveRound));
    std::array<double, 2> open_failed = {idle ? 0.0 : 1.0, saver_->has_failed() ? 1.0 : 0.0};
    WEFT_TRY(comm::all_reduce_sum(*world_, std::span(open_failed)));
    // A rank that could not even leave its report fails alone; nobody waits for that report.
    if (open_failed[0] == 0 || open_failed[1] > 0) break;
  }
  Expected<std::vector<Saved>> saved = finished_saves();
  WEFT_TRY(
      all_or_fail(*world_, recorder_, saved ? Expected<void>() : tl::unexpected(saved.error())));
  return saved;
}

Expected<std::string> Engine::save(const SaveInfo& info) {
  begin_save(info);
  WEFT_TRY_ASSIGN(const std::vector<Saved> saved, finish_saves());
  return from_rank_0(*world_, recorder_, [&] { return Expected<std::string>(saved.back().name); });
}

}  // namespace weft::runtime
