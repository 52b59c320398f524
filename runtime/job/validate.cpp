#include "runtime/job/validate.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <set>
#include <sstream>

#include "runtime/job/rules.h"
#include "runtime/job/tokenizer.h"

namespace weft::runtime {
std::vector<Problem> Rules::check() {
  check_name();
  if (job_.device == "virtual") {
    check_layout();
    check_schedule();
    check_virtual();
    check_control();
    return std::move(found_);
  }
  check_virtual_is_unused();
  check_recipe();
  check_data();
  check_model();
  check_precision();
  check_layout();
  check_schedule();
  check_supervised("pretrain", job_.pretrain);
  check_supervised("cold_start", job_.cold_start);
  check_cold_start();
  check_grpo();
  check_rewards();
  check_control();
  return std::move(found_);
}

void Rules::check_name() {
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
  };
  const std::string& name = job_.name;
  const bool good = !name.empty() && name.size() <= 64 && name[0] != '.' && name[0] != '-' &&
                    std::ranges::all_of(name, allowed);
  if (!good)
    error({"name"}, "name = '" + name + "' cannot be the name of a directory",
          "1 to 64 letters, digits, '.', '_' or '-', not starting with '.' or '-'");
}

void Rules::check_recipe() {
  static const std::vector<std::string> order = {"pretrain", "cold_start", "grpo"};
  if (job_.recipe.empty())
    error({"recipe"}, "recipe is empty: there is nothing to do", "such as [pretrain]");
  std::size_t next = 0;
  std::set<std::string> seen;
  for (const std::string& stage : job_.recipe) {
    const auto at = static_cast<std::size_t>(std::ranges::find(order, stage) - order.begin());
    if (!seen.insert(stage).second)
      error({"recipe"}, "recipe names '" + stage + "' twice", "each stage at most once");
    else if (at < next)
      error({"recipe"}, "recipe has '" + stage + "' too late",
            "the order is pretrain, cold_start, grpo");
    next = std::max(next, at);
  }
  if (runs("grpo") && !runs("pretrain") && !runs("cold_start"))
    warn({"recipe"}, "recipe starts with grpo: a model that has learned nothing earns no reward",
         "put pretrain before it");
}

void Rules::check_control() {
  const ControlJob& c = job_.control;
  if (c.heartbeat_s >= c.wait_bound_s)
    error({"control.heartbeat", "control.wait_bound"},
          "control.heartbeat is not shorter than control.wait_bound",
          "such as heartbeat: 1s, wait_bound: 60s");
  if (c.host.empty()) error({"control.host"}, "control.host is empty", "such as 127.0.0.1");
}

Expected<std::vector<double>> parse_stage_factors(const std::string& text) {
  std::vector<double> factors;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    double value = 0;
    const auto [end, failed] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (failed != std::errc() || end != word.data() + word.size() || !(value >= 0 && value <= 1000))
      return fail(Code::InvalidArgument,
                  "virtual.stage_factors: '" + word + "' is not a number from 0 to 1000");
    factors.push_back(value);
  }
  return factors;
}

std::vector<Problem> problems(const Job& job) { return Rules(job).check(); }

namespace {

/// The tokenizer of a job and the model's room for it.
std::vector<Problem> tokenizer_problems(const Job& job) {
  const bool chat = job.chat.template_name != "none";
  if (job.device == "virtual" || (job.tokenizer.kind == "byte" && !chat)) return {};
  if (job.tokenizer.kind == "bpe" && job.tokenizer.path.empty()) return {};  // said already
  const auto tokenizer = open_tokenizer(job);
  if (tokenizer) return {};
  std::vector<std::string> involved = {"tokenizer.path"};
  if (chat) involved.push_back("chat.template");
  if (tokenizer.error().message.starts_with("model.vocab_size"))
    involved = {"model.vocab_size", "tokenizer.path"};
  return {{Severity::Error, involved, tokenizer.error().message,
           "weft tokenizer show tells what a tokenizer holds"}};
}

std::vector<Problem> data_problems(const Job& job) {
  const std::string& path = job.data.path;
  if (job.device == "virtual" || job.data.task != "text" || path.empty()) return {};
  const auto problem = [&](const std::string& what) {
    return std::vector<Problem>{{Severity::Error,
                                 {"data.path"},
                                 "data.path = " + path + ": " + what,
                                 "a readable UTF-8 file, relative to where weft is started"}};
  };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return problem(std::strerror(errno));
  struct stat status {};
  const bool known = ::fstat(fd, &status) == 0;
  ::close(fd);
  if (!known || !S_ISREG(status.st_mode)) return problem("this is not a file");
  if (status.st_size < 2) return problem("the file is empty");
  return {};
}

}  // namespace

// What has been tried, not a bound of the transport: shared memory carries 1,024 ranks of a host
// (which then share its cores and memory), TCP between nodes has no bound of its own.
std::vector<Problem> host_problems(const Job& job) {
  constexpr long long kRanksTried = 64;
  const ParallelJob& p = job.parallel;
  const long long world = 1LL * p.pipeline * p.data;
  if (p.transport != "local" || world <= kRanksTried) return {};
  return {{Severity::Error,
           {"parallel.pipeline", "parallel.data", "parallel.transport"},
           "parallel.pipeline x parallel.data = " + std::to_string(world) +
               " worker processes: more than transport: local has been tried with",
           "at most " + std::to_string(kRanksTried) +
               ", on one host or shared by agents of several; weft plan and weft rehearse take any "
               "number"}};
}

std::vector<Problem> file_problems(const Job& job) {
  std::vector<Problem> found = data_problems(job);
  for (Problem& problem : tokenizer_problems(job)) found.push_back(std::move(problem));
  return found;
}

}  // namespace weft::runtime
