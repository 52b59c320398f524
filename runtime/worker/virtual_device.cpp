#include "runtime/worker/virtual_device.h"

#include <algorithm>

namespace weft::runtime {

void VirtualDevice::start(Instant at) {
  free_ = wire_free_ = at;
  tally_ = {};
  tally_.end = at;
}

void VirtualDevice::compute(Duration length) {
  free_ += length;
  tally_.compute += length;
  sleep();
}

Instant VirtualDevice::begin_exchange(Duration length, bool in_pair) {
  wire_free_ = std::max(wire_free_, free_) + length;
  tally_.exchange += length;
  if (in_pair) tally_.pair_exchange += length;
  return wire_free_;
}

void VirtualDevice::finish_exchange(Instant needed, Instant end, bool in_pair) {
  free_ = std::max(free_, end);
  const Duration exposed = free_ - needed;
  tally_.exposed += exposed;
  if (in_pair) tally_.pair_exposed += exposed;
  if (exposed > Duration(0)) sleep();
}

void VirtualDevice::sleep() {
  clock_.sleep_until(free_);
  const Instant now = clock_.now();
  tally_.late += now - free_;
  tally_.end = now;
}

Expected<std::size_t> WatchedCommunicator::wait(comm::Request request) {
  inner_.set_serving(serving());
  inner_.set_wait_bound(wait_bound());
  const bool there = inner_.test(request);
  Expected<std::size_t> done = inner_.wait(request);
  if (!there) device_.waited();
  return done;
}

}  // namespace weft::runtime
