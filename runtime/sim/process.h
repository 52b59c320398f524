// A process of the simulated cluster.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace weft::runtime::sim {

/// What is meant for it waits while it is stopped, and is dropped once it is dead.
struct Process {
  bool alive = true;
  bool stopped = false;
  std::deque<std::function<void()>> inbox;  // while stopped
};

/// By value, both: what is done may drop the caller's.
inline void deliver(std::shared_ptr<Process> process, std::function<void()> action) {
  if (!process || !process->alive) return;
  if (process->stopped)
    process->inbox.push_back(std::move(action));
  else
    action();
}

/// SIGCONT
inline void resume(std::shared_ptr<Process> process) {
  if (!process || !process->stopped) return;
  process->stopped = false;
  while (process->alive && !process->stopped && !process->inbox.empty()) {
    const std::function<void()> action = std::move(process->inbox.front());
    process->inbox.pop_front();
    action();
  }
}

/// Remembers processes to the end: what waits for a stopped one holds on to it.
class Processes {
 public:
  Processes() = default;
  ~Processes() {
    for (const std::weak_ptr<Process>& process : started_)
      if (const auto left = process.lock()) left->inbox.clear();
  }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;
  void add(const std::shared_ptr<Process>& process) { started_.push_back(process); }

 private:
  std::vector<std::weak_ptr<Process>> started_;
};

}  // namespace weft::runtime::sim
