#include "runtime/job/validate.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <set>
#include <sstream>
#include <thread>

#include "base/text.h"
#include "dualpipe/schedule.h"
#include "runtime/job/course.h"
#include "runtime/job/fields.h"
#include "runtime/job/tokenizer.h"

namespace weft::runtime {
namespace {

/// Special tokens beside bytes and numbers: begin, end, <think>, </think>, <answer>, </answer>.
constexpr int kSpecialTokens = 6;
/// The sentinels of fill-in-the-middle, after all others.
constexpr int kFimTokens = 3;

std::string number(long long value) { return std::to_string(value); }

class Rules {
 public:
  explicit Rules(const Job& job) : job_(job) {}

  std::vector<Problem> check() {
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

 private:
  bool runs(const std::string& stage) const {
    return std::ranges::find(job_.recipe, stage) != job_.recipe.end();
  }
  void error(std::vector<std::string> fields, std::string message, std::string hint) {
    found_.push_back({Severity::Error, std::move(fields), std::move(message), std::move(hint)});
  }
  void warn(std::vector<std::string> fields, std::string message, std::string hint) {
    found_.push_back({Severity::Warning, std::move(fields), std::move(message), std::move(hint)});
  }

  void check_name() {
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

  void check_recipe() {
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

  void check_data() {
    const bool text = job_.data.task == "text", files = job_.data.task == "files";
    check_files(files);
    for (const char* stage : {"cold_start", "grpo"})
      if (text && runs(stage))
        error({"data.task", "recipe"},
              std::string("recipe stage '") + stage +
                  "' needs problems with answers, and data.task = text has none",
              "data.task: arithmetic or cups, or recipe: [pretrain]");
    if (text && job_.data.path.empty())
      error({"data.path", "data.task"}, "data.task = text needs data.path",
            "name a UTF-8 file, or --set data.path=FILE");
    if (!text && !job_.data.path.empty())
      warn({"data.path", "data.task"}, "data.path is not read while data.task = " + job_.data.task,
           "data.task: text");
    if ((text || files) && job_.data.context > job_.model.max_position_embeddings)
      error({"data.context", "model.max_position_embeddings"},
            "data.context = " + number(job_.data.context) +
                " is longer than model.max_position_embeddings = " +
                number(job_.model.max_position_embeddings),
            "raise model.max_position_embeddings to " + number(job_.data.context));
    if (!text && !files && job_.data.min_difficulty > job_.data.max_difficulty)
      error({"data.min_difficulty", "data.max_difficulty"},
            "data.min_difficulty = " + number(job_.data.min_difficulty) +
                " is above data.max_difficulty = " + number(job_.data.max_difficulty),
            "swap them");
    check_tokenizer(files);
  }

  void check_tokenizer(bool files) {
    const TokenizerJob& t = job_.tokenizer;
    if (t.kind == "bpe" && t.path.empty())
      error({"tokenizer.path", "tokenizer.kind"}, "tokenizer.kind = bpe needs tokenizer.path",
            "name a tokenizer.json, or make one with weft tokenizer train");
    if (t.kind != "bpe" && !t.path.empty())
      warn({"tokenizer.path", "tokenizer.kind"},
           "tokenizer.path is not read while tokenizer.kind = " + t.kind, "tokenizer.kind: bpe");
    if (t.kind == "bpe" && t.numbers > 0)
      warn({"tokenizer.numbers", "tokenizer.kind"},
           "tokenizer.numbers is not used while tokenizer.kind = bpe", "tokenizer.numbers: 0");
    if (job_.chat.template_name != "custom")
      for (const Field& field : fields())
        if (group_of(field.path) == "chat" && field.path != "chat.template" &&
            value_text(field, job_) != value_text(field, Job{}))
          warn({field.path, "chat.template"},
               field.path + " is not used while chat.template = " + job_.chat.template_name,
               "chat.template: custom");
    if (t.kind != "byte") return;
    const int tokens =
        256 + kSpecialTokens + (job_.tokenizer.numbers > 0 ? job_.tokenizer.numbers + 1 : 0) +
        (files && job_.data.fim_rate > 0 ? kFimTokens : 0);  // bytes have none of their own
    if (job_.model.vocab_size < tokens)
      error({"model.vocab_size", "tokenizer.numbers"},
            "model.vocab_size = " + number(job_.model.vocab_size) +
                " cannot hold the tokenizer's " + number(tokens) +
                " tokens (256 bytes, 6 special, numbers to " + number(job_.tokenizer.numbers) + ")",
            "at least " + number(tokens) + "; " + number((tokens + 63) / 64 * 64) +
                " is a round width");
  }

  void check_precision() {
    if (job_.fp8.gradient_tiles != "1x128")
      error({"fp8.gradient_tiles"},
            "fp8.gradient_tiles = " + job_.fp8.gradient_tiles +
                " is refused: a token whose gradient is an outlier would take the precision of "
                "127 others, and DeepSeek-V3's 16B model diverged with it (report, B.2)",
            "fp8.gradient_tiles: 1x128");
    if (job_.precision == "fp8" && job_.parallel.dispatch_payload != "fp8" &&
        job_.model.is_moe(job_.model.num_hidden_layers - 1))
      warn({"parallel.dispatch_payload", "precision"},
           "parallel.dispatch_payload = " + job_.parallel.dispatch_payload +
               " sends rows at full length that the experts then round to FP8",
           "parallel.dispatch_payload: fp8, as DeepSeek-V3's recipe has it");
    if (job_.precision != "fp8" && job_.fp8.scales != "fp32")
      warn({"fp8.scales", "precision"},
           "fp8.scales is not read while precision = " + job_.precision, "precision: fp8");
    // A step of BF16 is up to 2^-7 of a number: a decay below half of that rounds to none.
    const double beta = std::max(job_.optimizer.beta1, job_.optimizer.beta2);
    if (job_.optimizer.moments == "bf16" && 1 - beta < 0x1p-8)
      warn({"optimizer.moments", "optimizer.beta1", "optimizer.beta2"},
           "optimizer.moments = bf16 rounds a decay of " + std::to_string(1 - beta) +
               " a step away: a moment may never fall again",
           "betas of at most 0.996, or optimizer.moments: f32");
  }

  void check_files(bool files) {
    const DataJob& d = job_.data;
    if (!files) {
      if (!d.train.empty() || !d.sft.empty())
        warn({"data.train", "data.sft", "data.task"},
             "data.train and data.sft are not read while data.task = " + d.task,
             "data.task: files");
      return;
    }
    if (runs("grpo"))
      error({"data.task", "recipe"},
            "recipe stage 'grpo' cannot take its prompts from files yet (data.task = files)",
            "data.task: arithmetic or cups, or leave grpo out");
    if (runs("pretrain") && d.train.empty())
      error({"data.train", "data.task"}, "data.task = files needs data.train for pretrain",
            "name files, or --set data.train=FILE");
    if (runs("cold_start") && d.train.empty() && d.sft.empty())
      error({"data.sft", "data.task"}, "data.task = files needs data.sft for cold_start",
            "name files, or --set data.sft=FILE");
    if (!d.path.empty())
      warn({"data.path", "data.task"}, "data.path is not read while data.task = files",
           "data.train");
    if (d.fim_rate > 0 && d.pack != "stream")
      error({"data.fim_rate", "data.pack"}, "data.fim_rate needs data.pack = stream",
            "data.pack: stream, or data.fim_rate: 0");
    const auto weights = parse_stage_factors(d.weights);
    const bool positive =
        weights && std::ranges::all_of(*weights, [](double weight) { return weight > 0; });
    if (!positive || (!weights->empty() && weights->size() != d.train.size()))
      error({"data.weights", "data.train"},
            "data.weights = '" + d.weights +
                "' does not have one number above 0 for each of "
                "data.train's " +
                number(static_cast<long long>(d.train.size())) + " sources",
            "such as '7 3', or leave it out");
  }

  /// The model's own rules name its fields without our prefix.
  void check_model() {
    for (const std::string& message : trainer::problems(job_.model)) {
      std::vector<std::string> involved;
      for (const Field& field : fields())
        if (group_of(field.path) == "model" && mentions(message, leaf_of(field.path)))
          involved.push_back(field.path);
      if (involved.empty()) involved.push_back("model.hidden_size");
      error(std::move(involved), message, "");
    }
    const auto kind = dualpipe::parse_kind(job_.parallel.schedule);
    const int stages = kind ? dualpipe::num_stages(*kind, job_.parallel.pipeline) : 1;
    if (job_.model.tie_word_embeddings && stages > 1)
      error({"model.tie_word_embeddings", "parallel.pipeline"},
            "model.tie_word_embeddings needs the embedding and the output head on one stage, and "
            "parallel.pipeline = " +
                number(job_.parallel.pipeline) + " makes " + number(stages),
            "parallel.pipeline: 1 with schedule 1f1b, or model.tie_word_embeddings: false");
    const bool balances = job_.model.n_routed_experts > 0 && job_.model.selection_bias;
    if (!balances && job_.router_bias_update_rate != Job{}.router_bias_update_rate)
      warn({"router.bias_update_rate"}, "router.bias_update_rate moves nothing: no selection bias",
           "delete it");
    if (job_.model.n_routed_experts == 0 && job_.parallel.expert > 1)
      warn({"parallel.expert", "model.n_routed_experts"},
           "parallel.expert = " + number(job_.parallel.expert) + ", but the model has no experts",
           "parallel.expert: 1");
  }
  static bool mentions(std::string_view text, std::string_view word) {
    const auto part = [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
    };
    for (std::size_t at = text.find(word); at != std::string_view::npos;
         at = text.find(word, at + 1)) {
      const std::size_t end = at + word.size();
      if ((at == 0 || !part(text[at - 1])) && (end == text.size() || !part(text[end]))) return true;
    }
    return false;
  }

  void check_layout() {
    const ParallelJob& p = job_.parallel;
    if (p.data % p.expert != 0)
      error({"parallel.expert", "parallel.data"},
            "parallel.expert = " + number(p.expert) +
                " does not divide parallel.data = " + number(p.data),
            nearest_divisors(p.data, p.expert, "parallel.expert"));
    if (job_.device != "virtual" && job_.model.n_routed_experts % p.expert != 0)
      error({"parallel.expert", "model.n_routed_experts"},
            "parallel.expert = " + number(p.expert) +
                " does not divide model.n_routed_experts = " + number(job_.model.n_routed_experts),
            nearest_divisors(job_.model.n_routed_experts, p.expert, "parallel.expert"));
    const int experts = job_.model.n_routed_experts, elsewhere = experts - experts / p.expert;
    if (p.redundant_experts > 0 && p.expert == 1)
      warn({"parallel.redundant_experts", "parallel.expert"},
           "parallel.redundant_experts = " + number(p.redundant_experts) +
               " is not used while parallel.expert = 1: every rank has all experts",
           "parallel.redundant_experts: 0");
    else if (p.redundant_experts > elsewhere)
      error({"parallel.redundant_experts", "model.n_routed_experts", "parallel.expert"},
            "parallel.redundant_experts = " + number(p.redundant_experts) + " is more than the " +
                number(elsewhere) + " experts that a rank does not hold",
            "at most " + number(elsewhere));
    const long long world = 1LL * p.pipeline * p.data;
    const unsigned cores = std::thread::hardware_concurrency();
    if (cores > 0 && world * p.threads > 4LL * cores && p.threads > 1)
      warn({"parallel.threads", "parallel.pipeline", "parallel.data"},
           number(world) + " workers x " + number(p.threads) + " threads on " + number(cores) +
               " cores will wait for each other",
           "parallel.threads: 1");
  }
  static std::string nearest_divisors(int of, int wrong, const std::string& field) {
    int below = 1, above = of;
    for (int d = 1; d <= of; ++d)
      if (of % d == 0) {
        if (d < wrong) below = d;
        if (d > wrong) {
          above = d;
          break;
        }
      }
    return field + ": " + number(below) + (above != below ? " or " + number(above) : std::string());
  }

  void check_schedule() {
    const ParallelJob& p = job_.parallel;
    const auto kind = dualpipe::parse_kind(p.schedule);
    if (!kind) {
      error({"parallel.schedule"}, kind.error().message, "");
      return;
    }
    const std::vector<std::string> sizes = {"parallel.pipeline", "parallel.micro_batches",
                                            "parallel.schedule"};
    const auto legal = dualpipe::check_size(*kind, {p.pipeline, p.micro_batches});
    if (!legal) {
      error(sizes,
            "parallel.pipeline = " + number(p.pipeline) +
                " and parallel.micro_batches = " + number(p.micro_batches) +
                " do not fit parallel.schedule = " + p.schedule + ": " + legal.error().message,
            p.pipeline == 1 ? "parallel.schedule: 1f1b takes any size" : "");
      return;
    }
    const int stages = dualpipe::num_stages(*kind, p.pipeline);
    if (job_.device != "virtual" && job_.model.num_hidden_layers < stages)
      error({"parallel.pipeline", "model.num_hidden_layers"},
            "parallel.pipeline = " + number(p.pipeline) + " makes " + number(stages) +
                " stages, but model.num_hidden_layers = " + number(job_.model.num_hidden_layers),
            "at least one layer a stage");
  }

  long long smallest_batch() const {
    return 1LL * job_.parallel.data * job_.parallel.micro_batches;
  }

  void check_batch(const std::vector<std::string>& batch_fields, long long batch,
                   const std::string& shown) {
    if (batch >= smallest_batch()) return;
    std::vector<std::string> involved = batch_fields;
    involved.insert(involved.end(), {"parallel.data", "parallel.micro_batches"});
    error(std::move(involved),
          shown + " = " + number(batch) +
              " leaves a micro-batch empty: parallel.data = " + number(job_.parallel.data) +
              " x parallel.micro_batches = " + number(job_.parallel.micro_batches) +
              " need at least " + number(smallest_batch()),
          "raise it to " + number(smallest_batch()) + " or lower parallel.micro_batches");
  }

  /// A rollout keeps every position of every lane busy in each direction; see Engine::generate.
  long long micro_batches_in_flight() const {
    const ParallelJob& p = job_.parallel;
    const auto kind = dualpipe::parse_kind(p.schedule);
    const int directions = kind ? dualpipe::num_directions(*kind) : 1;
    return 1LL * p.data * directions * ((p.pipeline + directions - 1) / directions);
  }

  void check_in_flight(const std::vector<std::string>& prompt_fields, long long prompts,
                       const std::string& shown) {
    if (job_.data.task == "text" || job_.data.task == "files" ||
        prompts >= micro_batches_in_flight())
      return;
    std::vector<std::string> involved = prompt_fields;
    involved.insert(involved.end(), {"parallel.pipeline", "parallel.data"});
    error(std::move(involved),
          shown + " = " + number(prompts) + " leaves ranks without a prompt: parallel.pipeline = " +
              number(job_.parallel.pipeline) +
              " and parallel.data = " + number(job_.parallel.data) + " keep " +
              number(micro_batches_in_flight()) + " micro-batches in flight",
          "at least " + number(micro_batches_in_flight()));
  }

  void check_supervised(const std::string& stage, const SupervisedJob& job) {
    if (!runs(stage)) return;
    check_in_flight({stage + ".eval_problems"}, job.eval_problems, stage + ".eval_problems");
    check_course(stage, job);
    if (job.min_lr > job.lr && job.lr_schedule == "cosine")
      error({stage + ".min_lr", stage + ".lr"}, stage + ".min_lr is above " + stage + ".lr",
            "the cosine falls from lr to min_lr");
    if (job.warmup > job.steps && job.steps > 0)
      warn({stage + ".warmup", stage + ".steps"},
           stage + ".warmup = " + number(job.warmup) + " is longer than " + stage +
               ".steps = " + number(job.steps),
           "the rate never reaches lr");
    check_target(stage, job.target_accuracy, job.eval_every);
    if (job_.data.task != "text" && job_.data.task != "files" && job.eval_difficulty != 0 &&
        (job.eval_difficulty < job_.data.min_difficulty ||
         job.eval_difficulty > job_.data.max_difficulty))
      error({stage + ".eval_difficulty", "data.min_difficulty", "data.max_difficulty"},
            stage + ".eval_difficulty = " + number(job.eval_difficulty) +
                " is outside data.min_difficulty..data.max_difficulty",
            number(job_.data.min_difficulty) + " to " + number(job_.data.max_difficulty) +
                ", or 0 for all");
  }

  void check_course(const std::string& stage, const SupervisedJob& job) {
    if (job.batch_start > 0)
      check_batch({stage + ".batch_start"}, job.batch_start, stage + ".batch_start");
    else
      check_batch({stage + ".batch"}, job.batch, stage + ".batch");
    if (job.batch_ramp > 0 && job.batch_start == 0)
      warn({stage + ".batch_ramp", stage + ".batch_start"},
           stage + ".batch_ramp has no effect while " + stage + ".batch_start = 0",
           "say where the ramp begins, such as " + stage + ".batch_start: 4");
    const auto course = course_of(job, sequence_tokens(job_));
    if (course) return;
    const std::string& all = course.error().message;
    const std::size_t cut = all.find('\n');
    const std::string leaf = all.substr(0, all.find_first_of(" :"));
    error({stage + "." + leaf}, stage + "." + all.substr(0, cut), all.substr(cut + 1));
  }

  void check_target(const std::string& stage, double target, int eval_every) {
    if (target > 0 && eval_every == 0)
      warn({stage + ".target_accuracy", stage + ".eval_every"},
           stage + ".target_accuracy is never looked at while " + stage + ".eval_every = 0",
           "such as " + stage + ".eval_every: 100");
    if (target > 0 && (job_.data.task == "text" || job_.data.task == "files"))
      warn({stage + ".target_accuracy", "data.task"},
           stage + ".target_accuracy has no meaning for data.task = " + job_.data.task,
           "delete it");
  }

  void check_cold_start() {
    const ColdStartJob& c = job_.cold_start;
    if (runs("cold_start") && c.blind + c.complete > 1.0 + 1e-9)
      error({"cold_start.blind", "cold_start.complete"},
            "cold_start.blind + cold_start.complete is more than 1",
            "they are shares; what remains gives up early");
  }

  void check_grpo() {
    if (!runs("grpo")) return;
    const GrpoJob& g = job_.grpo;
    check_batch({"grpo.prompts_per_step", "grpo.num_generations"},
                1LL * g.prompts_per_step * g.num_generations,
                "grpo.prompts_per_step x grpo.num_generations");
    check_in_flight({"grpo.prompts_per_step", "grpo.num_generations"},
                    1LL * g.prompts_per_step * g.num_generations,
                    "grpo.prompts_per_step x grpo.num_generations");
    check_in_flight({"grpo.eval_problems"}, g.eval_problems, "grpo.eval_problems");
    if (g.max_completion_length >= job_.model.max_position_embeddings)
      error({"grpo.max_completion_length", "model.max_position_embeddings"},
            "grpo.max_completion_length = " + number(g.max_completion_length) +
                " leaves no room for a prompt in model.max_position_embeddings = " +
                number(job_.model.max_position_embeddings),
            "lower it, or raise model.max_position_embeddings");
    if (g.epsilon_high < g.epsilon)
      warn({"grpo.epsilon_high", "grpo.epsilon"}, "grpo.epsilon_high is below grpo.epsilon",
           "equal is PPO's clip, higher is DAPO's");
    check_target("grpo", g.target_accuracy, g.eval_every);
  }

  void check_rewards() {
    if (!runs("grpo")) return;
    if (job_.rewards.empty())
      error({"rewards", "recipe"}, "grpo without rewards has nothing to learn from",
            "such as [{name: accuracy.answer, weight: 1}]");
    std::set<std::string> seen;
    bool any = false;
    for (const RewardJob& reward : job_.rewards) {
      if (!seen.insert(reward.name).second)
        error({"rewards"}, "rewards names '" + reward.name + "' twice", "add the weights");
      any = any || reward.weight != 0;
    }
    if (!job_.rewards.empty() && !any)
      error({"rewards"}, "all weights in rewards are 0", "such as accuracy.answer: 1");
  }

  /// A time without its device is a misunderstanding; it changes nothing, so it is a warning.
  void check_virtual_is_unused() {
    Job untouched;
    for (const Field& field : fields()) {
      if (group_of(field.path) != "virtual") continue;
      if (value_text(field, job_) != value_text(field, untouched))
        warn({field.path, "device"}, field.path + " is not used while device = " + job_.device,
             "device: virtual");
    }
  }

  void check_virtual() {
    const VirtualJob& v = job_.virtual_device;
    const ParallelJob& p = job_.parallel;
    if (v.forward_ms + v.backward_input_ms + v.weight_ms <= 0)
      error({"virtual.forward_ms", "virtual.backward_input_ms", "virtual.weight_ms"},
            "virtual.forward_ms, virtual.backward_input_ms and virtual.weight_ms are all 0: a step "
            "would take no time",
            "such as virtual.forward_ms: 20");
    check_stage_factors();
    if (v.exchange_ms > 0 && v.dispatch_bytes > 0 && p.expert == 1)
      warn({"virtual.exchange_ms", "parallel.expert"},
           "parallel.expert = 1: there is no other lane, so exchanges take their time but no bytes "
           "travel",
           "parallel.data: 2 and parallel.expert: 2, or virtual.dispatch_bytes: 0");
    if (p.expert > 1 && v.exchange_ms == 0)
      warn({"virtual.exchange_ms", "parallel.expert"},
           "parallel.expert = " + number(p.expert) +
               ", but virtual.exchange_ms = 0 leaves every exchange out",
           "such as virtual.exchange_ms: " + number(std::lround(v.forward_ms)));
    const double longest = v.forward_ms + v.backward_input_ms + v.weight_ms + 2 * v.exchange_ms;
    const double positions = p.pipeline + p.micro_batches;
    if (longest * positions > job_.control.wait_bound_s * 1e3)
      warn({"control.wait_bound", "virtual.forward_ms"},
           "a step may take longer than control.wait_bound, and a rank that waits for all of it "
           "would give up",
           "a longer control.wait_bound");
  }

  void check_stage_factors() {
    const auto factors = parse_stage_factors(job_.virtual_device.stage_factors);
    if (!factors) {
      error({"virtual.stage_factors"}, factors.error().message,
            "one number from 0 to 1000 a stage, separated by blanks");
      return;
    }
    const auto kind = dualpipe::parse_kind(job_.parallel.schedule);
    if (factors->empty() || !kind) return;
    const int stages = dualpipe::num_stages(*kind, job_.parallel.pipeline);
    if (static_cast<int>(factors->size()) != stages)
      error({"virtual.stage_factors", "parallel.schedule", "parallel.pipeline"},
            "virtual.stage_factors has " + number(static_cast<long long>(factors->size())) +
                " numbers, but " + job_.parallel.schedule + " over " +
                number(job_.parallel.pipeline) + " positions has " + number(stages) + " stages",
            "one number a stage");
  }

  void check_control() {
    const ControlJob& c = job_.control;
    if (c.heartbeat_s >= c.wait_bound_s)
      error({"control.heartbeat", "control.wait_bound"},
            "control.heartbeat is not shorter than control.wait_bound",
            "such as heartbeat: 1s, wait_bound: 60s");
    if (c.host.empty()) error({"control.host"}, "control.host is empty", "such as 127.0.0.1");
  }

  const Job& job_;
  std::vector<Problem> found_;
};

}  // namespace

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

std::vector<Problem> host_problems(const Job& job) {
  const ParallelJob& p = job.parallel;
  const long long world = 1LL * p.pipeline * p.data;
  if (p.transport != "local" || world <= 64) return {};
  return {{Severity::Error,
           {"parallel.pipeline", "parallel.data", "parallel.transport"},
           "parallel.pipeline x parallel.data = " + std::to_string(world) +
               " worker processes on one host",
           "at most 64 with transport: local; weft plan takes any number"}};
}

std::vector<Problem> file_problems(const Job& job) {
  std::vector<Problem> found = data_problems(job);
  for (Problem& problem : tokenizer_problems(job)) found.push_back(std::move(problem));
  return found;
}

}  // namespace weft::runtime
