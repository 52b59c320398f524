#include "dualpipe/check_messages.h"

#include <algorithm>
#include <string>

#include "dualpipe/flow.h"

namespace weft::dualpipe {
namespace {

constexpr std::size_t kMaxProblems = 20;

/// One message as a side sees it: which chunk makes it, activation or gradient.
struct Note {
  Chunk maker;
  bool gradient = false;
  int action = 0;
};

/// Where in its rank's program something happens to a chunk; -1: nowhere.
struct Places {
  int forward = -1, backward = -1;
  int send[2] = {-1, -1}, receive[2] = {-1, -1};  // [gradient]
};

class MessageCheck {
 public:
  explicit MessageCheck(const Schedule& schedule)
      : schedule_(schedule), flow_(schedule), ranks_(schedule.programs.size()) {
    places_.resize(static_cast<std::size_t>(flow_.size()));
    sends_.resize(ranks_ * ranks_);
    receives_.resize(ranks_ * ranks_);
  }

  std::vector<Problem> run() {
    for (std::size_t rank = 0; rank < ranks_; ++rank) {
      for (std::size_t i = 0; i < schedule_.programs[rank].size(); ++i) {
        note(static_cast<int>(rank), static_cast<int>(i), schedule_.programs[rank][i]);
      }
    }
    if (problems_.empty()) check_edges();
    if (problems_.empty()) check_pairs();
    if (problems_.empty()) walk(false);
    if (problems_.empty()) walk(true);
    return std::move(problems_);
  }

 private:
  void add(int rank, int action, std::string what) {
    if (problems_.size() < kMaxProblems) problems_.push_back({rank, action, std::move(what)});
  }

  std::size_t pair(int from, int to) const {
    return static_cast<std::size_t>(from) * ranks_ + static_cast<std::size_t>(to);
  }

  Places& places(const Chunk& chunk) { return places_[static_cast<std::size_t>(flow_.id(chunk))]; }

  void note(int rank, int index, const Action& action) {
    if (action.op == Op::F || action.op == Op::FB) places(action.chunk).forward = index;
    if (action.op == Op::B || action.op == Op::BI) places(action.chunk).backward = index;
    if (action.op == Op::FB) places(action.other).backward = index;
    if (is_message(action.op)) note_message(rank, index, action);
  }

  void note_message(int rank, int index, const Action& action) {
    if (!flow_.valid(action.chunk) || flow_.position(action.chunk) != rank) {
      return add(rank, index, "there is no such chunk on this rank");
    }
    const bool gradient = action.op == Op::SendB || action.op == Op::RecvB;
    const bool send = is_send(action.op);
    // A sent activation and a received gradient belong to the neighbour after, the others before.
    const auto other = send != gradient ? flow_.after(action.chunk) : flow_.before(action.chunk);
    if (!other) return add(rank, index, "that stage has no neighbour on this side");
    const int peer = flow_.position(*other);
    if (peer == rank) return add(rank, index, "both stages lie on this rank: no message is needed");
    if (peer != action.peer) {
      return add(rank, index, "the peer must be position " + std::to_string(peer));
    }
    int& place =
        send ? places(action.chunk).send[gradient] : places(action.chunk).receive[gradient];
    if (place >= 0) return add(rank, index, "the same message a second time");
    place = index;
    if (send) {
      sends_[pair(rank, peer)].push_back({action.chunk, gradient, index});
    } else {
      receives_[pair(peer, rank)].push_back({*other, gradient, index});
    }
  }

  void check_edges() {
    for (int direction = 0; direction < 2; ++direction) {
      for (int stage = 0; stage < flow_.stages(); ++stage) {
        for (int mb = 0; mb < flow_.micro_batches(); ++mb) {
          const Chunk chunk{direction, stage, mb};
          if (!flow_.valid(chunk)) continue;
          if (const auto after = flow_.after(chunk)) check_edge(chunk, *after, false);
          if (const auto before = flow_.before(chunk)) check_edge(chunk, *before, true);
        }
      }
    }
  }

  void check_edge(const Chunk& maker, const Chunk& user, bool gradient) {
    const int from = flow_.position(maker);
    const int to = flow_.position(user);
    const int made = gradient ? places(maker).backward : places(maker).forward;
    const int used = gradient ? places(user).backward : places(user).forward;
    if (from == to || made < 0 || used < 0) return;
    const int sent = places(maker).send[gradient];
    const int received = places(user).receive[gradient];
    const std::string what = (gradient ? "the gradient of " : "the activation of ") +
                             describe(maker) + " for position " + std::to_string(to);
    if (sent < 0) return add(from, made, what + " is never sent");
    if (received < 0) return add(to, used, what + " is never received");
    if (sent < made) add(from, sent, what + " is sent before it is made");
    if (received > used) add(to, received, what + " is received after it is needed");
  }

  void check_pairs() {
    for (std::size_t from = 0; from < ranks_; ++from) {
      for (std::size_t to = 0; to < ranks_; ++to) {
        const auto& sent = sends_[from * ranks_ + to];
        const auto& received = receives_[from * ranks_ + to];
        for (std::size_t i = 0; i < std::min(sent.size(), received.size()); ++i) {
          if (sent[i].maker == received[i].maker && sent[i].gradient == received[i].gradient) {
            continue;
          }
          add(static_cast<int>(to), received[i].action,
              "message " + std::to_string(i) + " from position " + std::to_string(from) +
                  " expected here is the " + name(received[i]) + ", but what is sent is the " +
                  name(sent[i]));
          break;
        }
      }
    }
  }

  static std::string name(const Note& note) {
    return (note.gradient ? "gradient of " : "activation of ") + describe(note.maker);
  }

  /// Runs all ranks as far as they come. A group of adjacent messages is started together; the next
  /// action waits for its receives, and with `rendezvous` for its sends too.
  void walk(bool rendezvous) {
    next_.assign(ranks_, 0);
    group_.assign(ranks_, 0);
    started_sends_.assign(ranks_ * ranks_, 0);
    started_receives_.assign(ranks_ * ranks_, 0);
    ordinals_.assign(ranks_, {});
    for (bool moved = true; moved;) {
      moved = false;
      for (std::size_t rank = 0; rank < ranks_; ++rank) {
        while (advance(rank, rendezvous)) moved = true;
      }
    }
    for (std::size_t rank = 0; rank < ranks_; ++rank) {
      if (next_[rank] == schedule_.programs[rank].size() && ordinals_[rank].empty()) continue;
      add(static_cast<int>(rank), static_cast<int>(group_[rank]),
          std::string("deadlock with ") + (rendezvous ? "rendezvous" : "buffered") +
              " sends: position " + std::to_string(rank) + waits_for(rank, rendezvous));
    }
  }

  struct Started {
    std::size_t action = 0;
    std::size_t ordinal = 0;  // among the messages of its directed pair
  };

  /// Moves past one action or starts one group. False when nothing can be done now.
  bool advance(std::size_t rank, bool rendezvous) {
    const auto& program = schedule_.programs[rank];
    auto& waiting = ordinals_[rank];
    if (!waiting.empty()) {
      const auto done = [&](const Started& s) { return complete(rank, s, rendezvous); };
      if (!std::all_of(waiting.begin(), waiting.end(), done)) return false;
      waiting.clear();
      return true;
    }
    if (next_[rank] == program.size()) return false;
    group_[rank] = next_[rank];
    if (!is_message(program[next_[rank]].op)) {
      ++next_[rank];
      return true;
    }
    for (; next_[rank] < program.size() && is_message(program[next_[rank]].op); ++next_[rank]) {
      const Action& action = program[next_[rank]];
      const int self = static_cast<int>(rank);
      auto& count = is_send(action.op) ? started_sends_[pair(self, action.peer)]
                                       : started_receives_[pair(action.peer, self)];
      waiting.push_back({next_[rank], count++});
    }
    return true;
  }

  bool complete(std::size_t rank, const Started& started, bool rendezvous) const {
    const Action& action = schedule_.programs[rank][started.action];
    const int self = static_cast<int>(rank);
    if (is_send(action.op)) {
      return !rendezvous || started.ordinal < started_receives_[pair(self, action.peer)];
    }
    return started.ordinal < started_sends_[pair(action.peer, self)];
  }

  std::string waits_for(std::size_t rank, bool rendezvous) const {
    for (const Started& started : ordinals_[rank]) {
      if (complete(rank, started, rendezvous)) continue;
      const Action& action = schedule_.programs[rank][started.action];
      return " waits for position " + std::to_string(action.peer) + " in " + describe(action);
    }
    return " waits";
  }

  const Schedule& schedule_;
  Flow flow_;
  std::size_t ranks_;
  std::vector<Problem> problems_;
  std::vector<Places> places_;                                 // by chunk id
  std::vector<std::vector<Note>> sends_;                       // by directed pair
  std::vector<std::vector<Note>> receives_;                    // by directed pair
  std::vector<std::size_t> next_, group_;                      // per rank
  std::vector<std::size_t> started_sends_, started_receives_;  // by directed pair
  std::vector<std::vector<Started>> ordinals_;                 // per rank: the group waited for
};

}  // namespace

std::vector<Problem> check_messages(const Schedule& schedule) {
  return MessageCheck(schedule).run();
}

}  // namespace weft::dualpipe
