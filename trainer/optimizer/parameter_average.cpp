#include "trainer/optimizer/parameter_average.h"

#include <sched.h>

#include <algorithm>

#include "base/check.h"

namespace weft::trainer::optimizer {
namespace {

constexpr std::size_t kPiece = 1 << 15;  // elements: some ten microseconds

}  // namespace

ParameterAverage::ParameterAverage(std::vector<std::span<const Real>> values, double decay)
    : values_(std::move(values)), averages_(values_.size()), decay_(decay) {
  WEFT_CHECK(decay >= 0 && decay < 1, "the decay of an average");
  for (std::size_t tensor = 0; tensor < values_.size(); ++tensor)
    for (std::size_t at = 0; at < values_[tensor].size(); at += kPiece)
      pieces_.push_back({tensor, at, std::min(at + kPiece, values_[tensor].size())});
  next_ = done_ = pieces_.size();
  restart();
  thread_ = std::thread([this] { run(); });
}

ParameterAverage::~ParameterAverage() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void ParameterAverage::restart() {
  finish();
  for (std::size_t i = 0; i < values_.size(); ++i)
    averages_[i].assign(values_[i].begin(), values_[i].end());
}

void ParameterAverage::begin() {
  WEFT_CHECK(done_ == pieces_.size(), "an average is begun once a change");
  {
    const std::lock_guard lock(mutex_);
    done_ = 0;
    next_ = 0;
  }
  changed_.notify_all();
}

void ParameterAverage::finish() {
  work();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return done_ == pieces_.size(); });
}

void ParameterAverage::work() {
  for (std::size_t i; (i = next_.fetch_add(1)) < pieces_.size();) {
    const Piece& piece = pieces_[i];
    const Real* const value = values_[piece.tensor].data();
    Real* const average = averages_[piece.tensor].data();
    const auto rate = static_cast<Real>(1 - decay_);
    for (std::size_t k = piece.begin; k < piece.end; ++k)
      average[k] += rate * (value[k] - average[k]);
    if (done_.fetch_add(1) + 1 < pieces_.size()) continue;
    const std::lock_guard lock(mutex_);  // or the one who waits could miss it
    changed_.notify_all();
  }
}

void ParameterAverage::run() {
  const sched_param lowest{};
  ::sched_setscheduler(0, SCHED_IDLE, &lowest);  // of this thread; a refusal costs only politeness
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ends_ || next_ < pieces_.size(); });
    if (ends_) return;
    lock.unlock();
    work();
    lock.lock();
  }
}

}  // namespace weft::trainer::optimizer
