#include "trainer/checkpoint/saver.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/check.h"
#include "trainer/checkpoint/report_file.h"

namespace weft::trainer::checkpoint {
namespace {

constexpr std::chrono::milliseconds kFirstLook{1}, kLongestLook{200};

}  // namespace

void Snapshot::clear(std::size_t bytes) {
  tensors_.clear();
  used_ = 0;
  if (bytes <= room_) return;
  memory_.reset();
  memory_.reset(new std::byte[bytes]);  // not cleared: it is written at once
  room_ = bytes;
}

void Snapshot::add(TensorRef ref, std::span<const std::byte> values) {
  WEFT_CHECK(values.size() <= room_ - used_, "a snapshot beyond its room");
  std::byte* const place = memory_.get() + used_;
  if (!values.empty()) std::memcpy(place, values.data(), values.size());
  used_ += values.size();
  ref.data = place;
  tensors_.push_back(std::move(ref));
}

Saver::Saver(SaverOptions options, const Clock& clock, Disk& disk)
    : options_(std::move(options)), clock_(clock), disk_(disk), thread_([this] { work(); }) {}

Saver::~Saver() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  if (options_.elsewhere && options_.elsewhere->interrupt) options_.elsewhere->interrupt();
  thread_.join();
}

/// None: this rank does not commit.
std::vector<int> Saver::waits_for() const {
  if (options_.elsewhere) return options_.elsewhere->waits_for;
  std::vector<int> ranks(options_.rank == 0 ? static_cast<std::size_t>(options_.world) : 0);
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

std::unique_ptr<Snapshot> Saver::borrow() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !free_.empty() || lent_ < options_.buffers; });
  ++lent_;
  if (free_.empty()) return std::make_unique<Snapshot>();
  auto snapshot = std::move(free_.back());
  free_.pop_back();
  return snapshot;
}

void Saver::free_buffer(std::unique_ptr<Snapshot> snapshot) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(snapshot));
  --lent_;
  changed_.notify_all();
}

void Saver::begin(std::unique_ptr<Snapshot> snapshot, fs::path ckpt_dir, ManifestInfo info) {
  Order order{std::move(snapshot), std::move(ckpt_dir), std::move(info),
              options_.mark + "-" + std::to_string(++begun_)};
  const std::lock_guard lock(mutex_);
  orders_.push_back(std::move(order));
  changed_.notify_all();
}

Expected<std::vector<Saved>> Saver::take_finished() {
  const std::lock_guard lock(mutex_);
  if (error_) return tl::unexpected(*error_);
  return std::exchange(finished_, {});
}

bool Saver::has_failed() {
  const std::lock_guard lock(mutex_);
  return error_.has_value();
}

bool Saver::wait_idle(std::chrono::milliseconds bound) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, bound, [&] { return !busy_ && orders_.empty(); });
}

void Saver::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return ends_ || !orders_.empty(); });
    if (ends_) return;
    Order order = std::move(orders_.front());
    orders_.pop_front();
    busy_ = true;
    const bool broken = error_.has_value();
    lock.unlock();
    // After a failure the run ends; what was still to be saved is not.
    Expected<Saved> saved = broken ? Expected<Saved>(Saved{}) : save(order);
    if (order.snapshot) free_buffer(std::move(order.snapshot));
    lock.lock();
    busy_ = false;
    if (!saved && !error_) error_ = saved.error();
    if (saved && !broken) finished_.push_back(std::move(*saved));
    changed_.notify_all();
  }
}

Expected<Saved> Saver::save(Order& order) {
  const Instant begin = clock_.now();
  const bool commits = !waits_for().empty();
  const fs::path partial = order.ckpt_dir / partial_name(order.info.step, order.info.attempt);
  const auto written = [&]() -> Expected<ShardReport> {
    if (commits) WEFT_TRY(prepare(order.ckpt_dir, order.info.step, order.info.attempt, disk_));
    return write_shard(partial, options_.rank, options_.world, order.snapshot->tensors(), disk_);
  }();
  // The buffer is free as soon as its bytes are on the disk; the commit does not need it.
  free_buffer(std::move(order.snapshot));
  const Expected<void> left = leave_report(partial, order.mark, options_.rank, written, disk_);
  const bool tells = commits && options_.elsewhere;  // others wait for this rank, come what may
  if (!tells && !written) return tl::unexpected(written.error());
  if (!tells) WEFT_TRY(left);
  Saved saved;
  saved.step = order.info.step;
  if (written)
    for (const FileEntry& file : written->files) saved.bytes += file.bytes;
  const Instant wrote = clock_.now();
  saved.write_seconds = seconds(wrote - begin);
  if (!commits) return saved;

  const auto reports = [&]() -> Expected<std::vector<ShardReport>> {
    if (!written) return tl::unexpected(written.error());
    WEFT_TRY(left);
    return gather(partial, order.mark);
  }();
  if (!tells && !reports) return tl::unexpected(reports.error());
  WEFT_TRY_ASSIGN(Committed committed,
                  tells ? options_.elsewhere->commit({order.ckpt_dir, partial, order.info, reports})
                        : commit(order.ckpt_dir, partial, order.info, *reports, disk_));
  saved.name = committed.directory.filename().string();
  saved.bytes = committed.manifest.bytes();
  saved.pruned = std::move(committed.pruned);
  saved.warnings = std::move(committed.warnings);
  saved.commit_seconds = seconds(clock_.now() - wrote);
  return saved;
}

Expected<std::vector<ShardReport>> Saver::gather(const fs::path& partial, const std::string& mark) {
  ReportCollector collector(partial, mark, waits_for());
  auto pause = kFirstLook;
  auto waited = std::chrono::milliseconds(0);  // since a report came
  for (int read = 0;;) {
    WEFT_TRY_ASSIGN(const bool complete, collector.look(disk_));
    if (complete) return collector.take();
    if (collector.num_read() > read) {
      read = collector.num_read();
      pause = kFirstLook;
      waited = std::chrono::milliseconds(0);
    }
    if (waited >= options_.report_bound)
      return fail(Code::DeadlineExceeded,
                  "the checkpoint in " + partial.string() + " was given up: no report of rank " +
                      collector.missing() + " within " +
                      std::to_string(options_.report_bound.count() / 1000) + " s");
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, pause, [&] { return ends_; }))
      return fail(Code::Unavailable, "the checkpoint in " + partial.string() + " was abandoned");
    waited += pause;
    pause = std::min(2 * pause, kLongestLook);
  }
}

}  // namespace weft::trainer::checkpoint
