#include "dualpipe/check.h"

#include <algorithm>

#include "dualpipe/check_messages.h"
#include "dualpipe/flow.h"
#include "dualpipe/grid.h"
#include "dualpipe/timeline.h"

namespace weft::dualpipe {
namespace {

// More than this tells nobody more.
constexpr std::size_t kMaxProblems = 20;

void add(std::vector<Problem>& problems, int rank, int action, std::string what) {
  if (problems.size() < kMaxProblems) problems.push_back({rank, action, std::move(what)});
}

/// How often each chunk was worked on so far, and where it went wrong.
class Counts {
 public:
  Counts(const Schedule& schedule, std::vector<Problem>& problems)
      : schedule_(schedule), flow_(schedule), problems_(problems) {
    state_.resize(static_cast<std::size_t>(flow_.size()));
    for (const auto& program : schedule.programs) {
      for (const Action& a : program) {
        trains_ |= a.op == Op::B || a.op == Op::BI || a.op == Op::W || a.op == Op::FB;
      }
    }
  }

  void run() {
    for (int rank = 0; rank < schedule_.ranks; ++rank) {
      const auto& program = schedule_.programs[static_cast<std::size_t>(rank)];
      for (std::size_t i = 0; i < program.size(); ++i) {
        if (!is_compute(program[i].op)) continue;
        const int index = static_cast<int>(i);
        visit(rank, index, program[i].op, program[i].chunk);
        if (program[i].op == Op::FB) visit(rank, index, Op::B, program[i].other);
      }
    }
    if (problems_.empty()) missing();
  }

 private:
  struct State {
    bool forward = false;
    bool backward = false;
    bool weight = false;
  };

  void visit(int rank, int index, Op op, const Chunk& chunk) {
    if (!flow_.valid(chunk)) {
      return add(problems_, rank, index, "there is no chunk " + describe(chunk));
    }
    if (flow_.position(chunk) != rank) {
      return add(problems_, rank, index,
                 describe(chunk) + " lies on rank " + std::to_string(flow_.position(chunk)));
    }
    State& state = state_[static_cast<std::size_t>(flow_.id(chunk))];
    const auto twice = [&](const char* what) {
      add(problems_, rank, index, std::string("second ") + what + " of " + describe(chunk));
    };
    if (op == Op::F || op == Op::FB) {
      if (state.forward) return twice("forward");
      state.forward = true;
    } else if (op == Op::B || op == Op::BI) {
      if (state.backward) return twice("backward");
      if (!state.forward) {
        return add(problems_, rank, index,
                   "backward of " + describe(chunk) + " before its forward");
      }
      state.backward = true;
      state.weight = op == Op::B;
    } else {
      if (!state.backward) {
        return add(problems_, rank, index,
                   "weight gradient of " + describe(chunk) + " before its backward for input");
      }
      if (state.weight) return twice("weight gradient");
      state.weight = true;
    }
  }

  void missing() {
    for (int direction = 0; direction < 2; ++direction) {
      for (int stage = 0; stage < flow_.stages(); ++stage) {
        for (int mb = 0; mb < flow_.micro_batches(); ++mb) {
          const Chunk chunk{direction, stage, mb};
          if (!flow_.valid(chunk)) continue;
          const State& state = state_[static_cast<std::size_t>(flow_.id(chunk))];
          const char* what = !state.forward               ? "forward"
                             : trains_ && !state.backward ? "backward"
                             : trains_ && !state.weight   ? "weight gradient"
                                                          : nullptr;
          if (what != nullptr) {
            add(problems_, flow_.position(chunk), -1,
                std::string("the ") + what + " of " + describe(chunk) + " is missing");
          }
        }
      }
    }
  }

  const Schedule& schedule_;
  Flow flow_;
  std::vector<Problem>& problems_;
  std::vector<State> state_;
  bool trains_ = false;
};

void check_order(const Schedule& schedule, std::vector<Problem>& problems) {
  for (const Stuck& stuck : simulate(schedule).stuck) {
    add(problems, stuck.rank, stuck.action, describe(schedule, stuck));
  }
}

bool has_messages(const Schedule& schedule) {
  return std::any_of(schedule.programs.begin(), schedule.programs.end(), [](const auto& program) {
    return std::any_of(program.begin(), program.end(),
                       [](const Action& action) { return is_message(action.op); });
  });
}

std::string render(const Schedule& schedule, const CheckReport& report, bool drawable) {
  std::string text = std::string(to_string(schedule.kind)) + ", " + std::to_string(schedule.ranks) +
                     " ranks, " + std::to_string(schedule.micro_batches) + " micro-batches: ";
  if (report.ok()) {
    text += "sound. Peak activations per rank:";
    for (int peak : report.peak_activations) text += " " + std::to_string(peak);
    return text + "\n";
  }
  text += "cannot run.\n";
  std::vector<Mark> marks;
  for (const Problem& problem : report.problems) {
    text += "  rank " + std::to_string(problem.rank);
    if (problem.action >= 0) {
      const auto& program = schedule.programs[static_cast<std::size_t>(problem.rank)];
      text += ", action " + std::to_string(problem.action) + " (" +
              describe(program[static_cast<std::size_t>(problem.action)]) + ")";
      marks.push_back({problem.rank, problem.action});
    }
    text += ": " + problem.what + "\n";
  }
  if (drawable) text += grid(schedule, simulate(schedule), marks);
  return text;
}

}  // namespace

std::vector<int> peak_activations(const Schedule& schedule) {
  std::vector<int> peaks;
  for (const auto& program : schedule.programs) {
    int alive = 0;
    int peak = 0;
    for (const Action& action : program) {
      if (action.op == Op::F || action.op == Op::FB) peak = std::max(peak, ++alive);
      if (action.op == Op::B || action.op == Op::W || action.op == Op::FB) --alive;
    }
    peaks.push_back(peak);
  }
  return peaks;
}

CheckReport check(const Schedule& schedule) {
  CheckReport report;
  if (const auto shape = check_shape(schedule); !shape) {
    report.problems.push_back({0, -1, shape.error().message});
  }
  bool drawable = false;
  if (report.ok()) {
    drawable = check_chunks(schedule).has_value();
    Counts(schedule, report.problems).run();
    if (drawable) report.peak_activations = peak_activations(schedule);
  }
  if (report.ok()) check_order(schedule, report.problems);
  if (report.ok()) {
    const bool given = has_messages(schedule);
    report.problems = given ? check_messages(schedule) : check_messages(add_messages(schedule));
    // Ours are right by construction: a problem there would be a mistake of add_messages, and its
    // index would point into a program that the caller does not have.
    if (!given) {
      for (Problem& problem : report.problems) problem.action = -1;
    }
  }
  report.text = render(schedule, report, drawable);
  return report;
}

}  // namespace weft::dualpipe
