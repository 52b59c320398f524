// A pipeline of threads for executor tests: a communicator over queues and a stage whose numbers
// can be worked out by hand.
#pragma once

#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "comm/communicator.h"
#include "dualpipe/stage.h"

namespace weft::dualpipe {

/// Queues between the ranks of one group.
struct FakeWire {
  struct Message {
    comm::Tag tag;
    std::vector<std::byte> bytes;
    std::shared_ptr<bool> taken;  // rendezvous: set when the receiver has it
  };
  explicit FakeWire(int ranks_in, bool rendezvous_in = false)
      : ranks(ranks_in),
        rendezvous(rendezvous_in),
        queues(static_cast<std::size_t>(ranks * ranks)) {}

  std::deque<Message>& queue(int from, int to) {
    return queues[static_cast<std::size_t>(from * ranks + to)];
  }
  void abort() {
    const std::lock_guard lock(mutex);
    aborted = true;
    changed.notify_all();
  }

  int ranks;
  bool rendezvous;
  bool aborted = false;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::deque<Message>> queues;
};

class FakeCommunicator final : public comm::Communicator {
 public:
  FakeCommunicator(FakeWire& wire, int rank) : wire_(wire), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return wire_.ranks; }
  std::string_view name() const override { return "fake"; }

  comm::Request start_send(int to, comm::Tag tag, comm::ConstBytes data) override {
    Started& s = start();
    s.send = true;
    const std::lock_guard lock(wire_.mutex);
    *s.done = !wire_.rendezvous;
    wire_.queue(rank_, to).push_back({tag, {data.begin(), data.end()}, s.done});
    wire_.changed.notify_all();
    return {static_cast<int>(started_.size()) - 1};
  }

  comm::Request start_receive(int from, comm::Tag tag, comm::Bytes into) override {
    Started& s = start();
    s.from = from;
    s.tag = tag;
    s.into = into;
    return {static_cast<int>(started_.size()) - 1};
  }

  Expected<std::size_t> wait(comm::Request request) override {
    Started& s = *started_[static_cast<std::size_t>(request.index)];
    std::unique_lock lock(wire_.mutex);
    const bool in_time = wire_.changed.wait_for(lock, wait_bound(), [&] {
      take_all();
      return *s.done || !s.error.empty() || wire_.aborted;
    });
    if (!s.error.empty()) return fail(Code::Corrupt, s.error);
    if (*s.done) return s.bytes;
    if (wire_.aborted) return fail(Code::Unavailable, "aborted");
    return in_time ? fail(Code::Internal, "?")
                   : fail(Code::DeadlineExceeded, "serving " + std::string(serving()));
  }

  bool test(comm::Request request) override {
    const std::lock_guard lock(wire_.mutex);
    take_all();
    return *started_[static_cast<std::size_t>(request.index)]->done;
  }

 private:
  struct Started {
    bool send = false;
    int from = 0;
    comm::Tag tag = 0;
    comm::Bytes into;
    std::size_t bytes = 0;
    std::shared_ptr<bool> done = std::make_shared<bool>(false);
    std::string error;
  };

  Started& start() { return *started_.emplace_back(std::make_unique<Started>()); }

  /// Serves the started receives in the order in which they were started, per sender.
  void take_all() {
    std::vector<bool> blocked(static_cast<std::size_t>(wire_.ranks), false);
    for (auto& s : started_) {
      if (s->send || *s->done || !s->error.empty()) continue;
      auto& queue = wire_.queue(s->from, rank_);
      if (queue.empty() || blocked[static_cast<std::size_t>(s->from)]) {
        blocked[static_cast<std::size_t>(s->from)] = true;
        continue;
      }
      FakeWire::Message& message = queue.front();
      if (message.tag != s->tag || message.bytes.size() > s->into.size()) {
        s->error = "wrong tag or size";
        continue;
      }
      std::memcpy(s->into.data(), message.bytes.data(), message.bytes.size());
      s->bytes = message.bytes.size();
      *s->done = true;
      *message.taken = true;
      queue.pop_front();
      wire_.changed.notify_all();
    }
  }

  FakeWire& wire_;
  int rank_;
  std::vector<std::unique_ptr<Started>> started_;
};

/// A call that a stage got.
struct Call {
  bool finish = false;
  Pass pass = Pass::Forward;
  Phase phase;
  Chunk chunk;
  friend bool operator==(const Call&, const Call&) = default;
};

using Vector = std::vector<double>;

inline Vector fake_input(const Chunk& first) {
  const double x = 1 + 0.1 * first.micro_batch + 0.37 * first.direction;
  return {x, -x, x * x};
}

/// `layers` layers of y = experts * (attention * x), with an exchange before and after experts, a
/// loss of half the squared output on the last stage, and gradients for every factor.
class FakeStage final : public Stage {
 public:
  FakeStage(int stage, int stages, int layers, std::vector<Call>* log)
      : stage_(stage), stages_(stages), log_(log) {
    const bool last = stage + 1 == stages;
    for (int l = 0; l < layers; ++l) {
      attention_.push_back(0.9 + 0.01 * stage + 0.03 * l);
      experts_.push_back(1.05 - 0.02 * stage + 0.01 * l);
      for (PhaseKind kind :
           {PhaseKind::Attention, PhaseKind::Dispatch, PhaseKind::Experts, PhaseKind::Combine}) {
        forward_.push_back({kind, l, Part::Whole});
      }
    }
    if (last) backward_.push_back({PhaseKind::Head, layers - 1, Part::Input});
    for (int l = layers - 1; l >= 0; --l) {
      backward_.push_back({PhaseKind::Combine, l, Part::Input});
      backward_.push_back({PhaseKind::Experts, l, Part::Input});
      backward_.push_back({PhaseKind::Experts, l, Part::Weights});
      backward_.push_back({PhaseKind::Dispatch, l, Part::Input});
      backward_.push_back({PhaseKind::Attention, l, Part::Input});
      backward_.push_back({PhaseKind::Attention, l, Part::Weights});
    }
    attention_gradient.assign(static_cast<std::size_t>(layers), 0);
    experts_gradient.assign(static_cast<std::size_t>(layers), 0);
  }

  std::span<const Phase> phases(Pass pass) const override {
    return pass == Pass::Forward ? forward_ : backward_;
  }

  Expected<void> begin(Pass pass, const Phase& phase, const Chunk& chunk) override {
    if (log_ != nullptr) log_->push_back({false, pass, phase, chunk});
    if (chunk == fail_at && pass == Pass::Backward) {
      return fail(Code::Unavailable, "the device is on fire");
    }
    Work& work = work_of(chunk);
    Flight& flight = work.flight[pass == Pass::Backward];
    if (communicates(phase)) {
      start_exchange(flight, pass, phase, chunk);
      if (flight.open) return fail(Code::Internal, "a second exchange of one pass was begun");
      flight.open = true;
      flight.phase = phase;
      value(work, pass).swap(flight.data);  // away until finish
      return {};
    }
    if (flight.open && phase.part != Part::Weights) {
      return fail(Code::Internal, "compute before the exchange was finished");
    }
    compute(work, pass, phase, chunk);
    return {};
  }

  Expected<void> finish(Pass pass, const Phase& phase, const Chunk& chunk) override {
    if (log_ != nullptr) log_->push_back({true, pass, phase, chunk});
    Work& work = work_of(chunk);
    Flight& flight = work.flight[pass == Pass::Backward];
    if (!flight.open || !(flight.phase == phase)) {
      return fail(Code::Internal, "finish of an exchange that was not begun");
    }
    flight.open = false;
    value(work, pass).swap(flight.data);
    return finish_exchange(flight);
  }

  std::span<std::byte> incoming(Pass pass, const Chunk& chunk) override {
    Vector& v = value(work_of(chunk), pass);
    v.assign(3, 0);
    return std::as_writable_bytes(std::span(v));
  }
  std::span<const std::byte> outgoing(Pass pass, const Chunk& chunk) override {
    Work& work = work_of(chunk);
    Vector& out = work.out[pass == Pass::Backward];
    out = value(work, pass);
    if (pass == Pass::Forward) ++outstanding;
    if (short_message && pass == Pass::Forward) out.resize(2);
    return std::as_bytes(std::span(out));
  }
  void sent(Pass pass, const Chunk&) override {
    if (pass == Pass::Forward) --outstanding;
  }

  std::vector<double> attention_gradient, experts_gradient;
  double loss = 0;
  int outstanding = 0;                  // activations given out and not yet sent
  comm::Communicator* lanes = nullptr;  // exchanges go over it, where there is one
  Chunk fail_at{-1, -1, -1};
  bool short_message = false;

 private:
  struct Flight {
    bool open = false;
    Phase phase;
    Vector data;
    std::vector<std::byte> out, in;
    std::vector<comm::Request> requests;
  };
  struct Work {
    Vector x, g;  // activation, gradient on their way
    std::map<int, Vector> attention_in, experts_in, attention_g, experts_g;
    Flight flight[2];
    Vector out[2];
  };

  /// A byte to and from every other lane; the tag is what is exchanged, so that lanes which differ
  /// in their order fail.
  void start_exchange(Flight& flight, Pass pass, const Phase& phase, const Chunk& c) {
    if (lanes == nullptr) return;
    const auto size = static_cast<std::size_t>(lanes->size());
    flight.out.assign(size, std::byte{1});
    flight.in.assign(size, std::byte{0});
    const comm::Tag tag =
        static_cast<comm::Tag>(pass == Pass::Backward) | static_cast<comm::Tag>(phase.kind) << 4 |
        static_cast<comm::Tag>(phase.layer) << 8 | static_cast<comm::Tag>(c.direction) << 16 |
        static_cast<comm::Tag>(c.stage) << 20 | static_cast<comm::Tag>(c.micro_batch) << 32;
    for (std::size_t r = 0; r < size; ++r) {
      const int peer = static_cast<int>(r);
      if (peer == lanes->rank()) continue;
      flight.requests.push_back(lanes->start_send(peer, tag, std::span(flight.out).subspan(r, 1)));
      flight.requests.push_back(
          lanes->start_receive(peer, tag, std::span(flight.in).subspan(r, 1)));
    }
  }

  Expected<void> finish_exchange(Flight& flight) {
    for (const comm::Request& request : flight.requests) WEFT_TRY(lanes->wait(request));
    flight.requests.clear();
    return {};
  }

  Work& work_of(const Chunk& c) { return work_[{c.direction, c.stage, c.micro_batch}]; }
  static Vector& value(Work& work, Pass pass) { return pass == Pass::Forward ? work.x : work.g; }

  void compute(Work& work, Pass pass, const Phase& phase, const Chunk& chunk) {
    const auto l = static_cast<std::size_t>(phase.layer);
    const bool attention = phase.kind == PhaseKind::Attention;
    const double factor = attention ? attention_[l] : experts_[l];
    auto& inputs = attention ? work.attention_in : work.experts_in;
    auto& gradients = attention ? work.attention_g : work.experts_g;
    if (pass == Pass::Forward) {
      if (work.x.empty()) work.x = fake_input(chunk);
      inputs[phase.layer] = work.x;
      for (double& v : work.x) v *= factor;
    } else if (phase.kind == PhaseKind::Head) {
      work.g = work.x;
      for (double v : work.x) loss += v * v / 2;
    } else if (phase.part == Part::Input) {
      gradients[phase.layer] = work.g;
      for (double& v : work.g) v *= factor;
    } else {
      double& sum = attention ? attention_gradient[l] : experts_gradient[l];
      const Vector& g = gradients.at(phase.layer);
      for (std::size_t i = 0; i < g.size(); ++i) sum += g[i] * inputs.at(phase.layer)[i];
    }
  }

  int stage_, stages_;
  std::vector<Call>* log_;
  std::vector<double> attention_, experts_;
  std::vector<Phase> forward_, backward_;
  std::map<std::tuple<int, int, int>, Work> work_;
};

}  // namespace weft::dualpipe
