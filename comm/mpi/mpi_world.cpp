#include "comm/mpi/mpi_world.h"

#include <sched.h>

#include <algorithm>
#include <thread>

#include "comm/mpi/mpi_group.h"

namespace weft::comm {
namespace {

// Answers of ranks that run now come within these; then the core is worth more to others.
constexpr Duration kYields = std::chrono::microseconds(300);
constexpr Duration kSleepMin = std::chrono::microseconds(50);
constexpr Duration kSleepMax = std::chrono::milliseconds(1);

}  // namespace

MpiWorld::~MpiWorld() {
  void* request = nullptr;
  if (!started || ended || api.barrier(&request) != 0) return;
  if (wait(&request, "ending MPI")) api.finalize();
}

bool MpiWorld::progress() {
  bool moved = false;
  for (MpiCommunicator* member : members)
    if (!ended) moved |= member->progress();
  return moved;
}

Expected<void> MpiWorld::wait(void** request, const std::string& what) {
  MpiPatience patience(options.wait_bound);
  for (;;) {
    int done = 0;
    std::size_t bytes = 0;
    if (const int code = api.test(request, &done, &bytes))
      return fail(Code::Unavailable, what + ": " + describe(code));
    if (done != 0) return {};
    if (!patience.step())
      return fail(Code::DeadlineExceeded, what + ": not all ranks came within " +
                                              std::to_string(options.wait_bound.count()) + " ms");
  }
}

std::string MpiWorld::describe(int code) const {
  char text[512];
  api.describe_error(code, text, sizeof text);
  return "MPI says: " + std::string(text);
}

bool MpiPatience::step() {
  const Instant now = std::chrono::steady_clock::now();
  if (idle_++ == 0) moved_ = now;
  if (now >= deadline_) return false;
  const Duration idle = now - moved_;
  if (idle < kYields) {
    ::sched_yield();
    return true;
  }
  std::this_thread::sleep_for(
      std::min<Duration>(std::clamp<Duration>(idle / 8, kSleepMin, kSleepMax), deadline_ - now));
  return true;
}

}  // namespace weft::comm
