#include "comm/sim/turns.h"

#include <algorithm>
#include <thread>

#include "base/check.h"

namespace weft::comm {
namespace {

// A rank that has looked this often at one instant is taken to be in a polling loop.
constexpr int kPollsMax = 64;
// What a poll costs when everybody polls and nothing is under way.
constexpr Duration kIdlePoll = std::chrono::milliseconds(1);

}  // namespace

Turns::Turns(int num_ranks) {
  for (int r = 0; r < num_ranks; ++r) ranks_.push_back(std::make_unique<RankState>());
}

void Turns::run(const std::function<void(int)>& body, const std::function<void(int)>& on_end) {
  for (int r = 0; r < static_cast<int>(ranks_.size()); ++r)
    if (!halted(r)) ready_.push_back(r);
  std::vector<std::jthread> threads;
  for (int r = 0; r < static_cast<int>(ranks_.size()); ++r)
    threads.emplace_back([this, r, &body, &on_end] {
      at_rank(r).turn.pass();
      body(r);
      at_rank(r).state = State::ended;
      if (!halted(r)) last_end_ = now_;
      on_end(r);
      hand_to_next();
    });
  hand_to_next();
  all_ended_.pass();
}

void Turns::at(Duration when, std::function<void()> event) {
  add_event(std::max(when, now_), std::move(event));
}

Turns::EventKey Turns::add_event(Duration when, std::function<void()> event) {
  const EventKey key{when, num_events_++};
  events_.emplace(key, std::move(event));
  return key;
}

void Turns::sleep_until(Duration then) {
  if (halted(current_) || then <= now_) return;
  const int self = current_;
  const EventKey key = add_event(then, [this, self] { make_ready(self); });
  give_turn(State::sleeping);
  events_.erase(key);  // still there when the rank was halted meanwhile
}

void Turns::wait_until(Duration deadline) {
  if (halted(current_) || deadline <= now_) return;
  const int self = current_;
  const EventKey key = add_event(deadline, [this, self] { wake(self); });
  give_turn(State::waiting);
  events_.erase(key);
}

void Turns::poll() {
  if (halted(current_)) return;
  ++at_rank(current_).polls;
  polling_.push_back(current_);
  give_turn(State::polling);
}

void Turns::wake(int rank) {
  if (at_rank(rank).state == State::waiting) make_ready(rank);
}

void Turns::wake_all() {
  for (int r = 0; r < static_cast<int>(ranks_.size()); ++r) wake(r);
}

void Turns::make_ready(int rank) {
  RankState& state = at_rank(rank);
  if (state.halted || state.state == State::ended) return;
  state.state = State::ready;
  ready_.push_back(rank);
}

void Turns::halt(int rank) {
  RankState& state = at_rank(rank);
  if (state.halted || state.state == State::ended) return;
  WEFT_CHECK(state.state != State::running, "a rank is halted between turns");
  state.halted = true;
  state.state = State::parked;
  std::erase(ready_, rank);
  std::erase(polling_, rank);
}

void Turns::give_turn(State state) {
  const int self = current_;
  at_rank(self).state = state;
  hand_to_next();
  at_rank(self).turn.pass();
}

void Turns::hand_to_next() {
  current_ = next_rank();
  if (current_ < 0) return all_ended_.open();
  at_rank(current_).state = State::running;
  at_rank(current_).turn.open();  // perhaps our own
}

/// -1: all have ended.
int Turns::next_rank() {
  for (;;) {
    if (!ready_.empty()) {
      const int rank = ready_.front();
      ready_.pop_front();
      return rank;
    }
    if (fire_next_event(now_)) continue;
    const auto poller = std::find_if(polling_.begin(), polling_.end(),
                                     [this](int r) { return at_rank(r).polls < kPollsMax; });
    if (poller != polling_.end()) {
      const int rank = *poller;
      polling_.erase(poller);
      return rank;
    }
    const auto alive = [](const auto& rank) {
      return !rank->halted && rank->state != State::ended;
    };
    if (std::none_of(ranks_.begin(), ranks_.end(), alive)) break;
    if (!fire_next_event(Duration::max())) add_event(now_ + kIdlePoll, [] {});  // all poll
  }
  for (int r = 0; r < static_cast<int>(ranks_.size()); ++r)
    if (at_rank(r).state == State::parked) return r;
  return -1;
}

bool Turns::fire_next_event(Duration latest) {
  if (events_.empty() || events_.begin()->first.first > latest) return false;
  now_ = std::max(now_, events_.begin()->first.first);
  const std::function<void()> event = std::move(events_.begin()->second);
  events_.erase(events_.begin());
  event();
  for (const auto& rank : ranks_) rank->polls = 0;
  return true;
}

}  // namespace weft::comm
