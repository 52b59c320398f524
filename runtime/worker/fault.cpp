#include "runtime/worker/fault.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "comm/message_check.h"
#include "runtime/log/log.h"

namespace weft::runtime {
namespace {

constexpr std::array<const char*, 6> kPlaces = {"forming",    "compute", "exchange",
                                                "checkpoint", "rollout", "shutdown"};
constexpr std::array<const char*, 9> kKinds = {"kill",   "stop", "throw", "exit", "fail",
                                               "memory", "slow", "flip",  "hold"};
constexpr std::chrono::seconds kHoldBound{60};
constexpr std::chrono::milliseconds kLook{2};

Fault armed;
long long step_now = 0;

template <class Names>
int index_of(const Names& names, const std::string& name) {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (name == names[i]) return static_cast<int>(i);
  return -1;
}

bool take_number(const std::string& text, long long& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

/// A real one, by the address space's limit: what the allocator does then is what it does.
[[noreturn]] void run_out_of_memory() {
  const rlimit none = {1, 1};
  ::setrlimit(RLIMIT_AS, &none);
  for (std::size_t bytes = std::size_t{1} << 30;; bytes *= 2) {
    auto* memory = static_cast<volatile char*>(::operator new(bytes));
    memory[0] = 1;
  }
}

void hold(const std::string& until) {
  const auto end = std::chrono::steady_clock::now() + kHoldBound;
  std::error_code error;
  while (!std::filesystem::exists(until, error) && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(kLook);
}

}  // namespace

Expected<Fault> parse_fault(const std::string& text) {
  Fault fault;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const std::size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    long long number = 0;
    bool good = true;
    if (key == "do") {
      good = index_of(kKinds, value) >= 0;
      fault.what = value;
    } else if (key == "at") {
      const int at = index_of(kPlaces, value);
      good = at >= 0;
      fault.at = static_cast<FaultAt>(at);
    } else if (key == "rank" && value == "all") {
      fault.rank = -1;
    } else if (key == "until") {
      good = !value.empty();
      fault.until = value;
    } else {
      good = take_number(value, number) && number >= 0;
      if (key == "rank")
        fault.rank = static_cast<int>(number);
      else if (key == "step")
        fault.step = number;
      else if (key == "generation")
        fault.generation = static_cast<int>(number);
      else if (key == "ms")
        fault.slow_ms = number;
      else
        good = false;
    }
    if (!good)
      return fail(Code::InvalidArgument,
                  "WEFT_FAULT: '" + word +
                      "' is not understood; such as do=kill at=compute rank=2 step=12");
  }
  return fault;
}

Expected<void> arm_fault(int rank, int generation) {
  const char* text = std::getenv("WEFT_FAULT");
  if (text == nullptr || *text == '\0') return {};
  WEFT_TRY_ASSIGN(armed, parse_fault(text));
  fault_armed = (armed.rank < 0 || armed.rank == rank) &&
                (armed.generation == 0 || armed.generation == generation);
  return {};
}

void fault_step(long long step) { step_now = step; }

Expected<void> meet_fault(FaultAt at) {
  if (at != armed.at || step_now < armed.step) return {};
  if (armed.what == "slow") {
    std::this_thread::sleep_for(std::chrono::milliseconds(armed.slow_ms));
    return {};
  }
  log_warning(std::string("WEFT_FAULT: ") + armed.what + " at " +
              kPlaces[static_cast<std::size_t>(at)] + ", step " + std::to_string(step_now));
  fault_armed = false;
  if (armed.what == "kill") ::raise(SIGKILL);
  if (armed.what == "stop") ::raise(SIGSTOP);
  if (armed.what == "exit") ::_exit(3);
  if (armed.what == "hold") hold(armed.until);
  if (armed.what == "flip") comm::change_next_message();
  if (armed.what == "throw") throw std::runtime_error("an injected exception");
  if (armed.what == "memory") run_out_of_memory();
  if (armed.what == "fail")
    return fail(Code::InvalidArgument, "an injected error that no retry can help");
  return {};
}

}  // namespace weft::runtime
