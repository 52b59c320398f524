#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "runtime/job/load.h"
#include "scheduler/placement.h"
#include "trainer/hf/config.h"
#include "trainer/hf/inventory.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace trainer::hf;
using trainer::ModelConfig;

constexpr std::size_t kConfigBytesMax = 16 << 20;
// What a rank's bytes assume of a parameter's state: BF16 weights, FP32 gradients; spread over
// replicas (ZeRO-1): FP32 master weights and two BF16 moments. Source: DeepSeek-V3 technical
// report, section 3.3.
constexpr double kWeightBytes = 2, kGradientBytes = 4, kMasterBytes = 4, kMomentBytes = 2 + 2;
constexpr const char* kAssumed =
    "a parameter: 2 B weight (BF16) and 4 B gradient (FP32); over its replicas 4 B master weight "
    "(FP32) and 2 x 2 B moments (BF16); no activations";

/// 671026419200 -> "671,026,419,200".
std::string grouped(std::int64_t value) {
  std::string text = std::to_string(value);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<std::size_t>(at), ",");
  return text;
}

/// In 1e9: one digit behind the point, or three that count below one.
std::string giga(double value) {
  return value < 1e9 ? fmt::format("{:.3g}", value / 1e9) : fmt::format("{:.1f}", value / 1e9);
}

/// What one rank holds of the model, without activations.
struct RankBytes {
  double weights = 0, gradients = 0, masters = 0, moments = 0;
  double optimizer() const { return masters + moments; }
  double total() const { return weights + gradients + optimizer(); }
};

/// Per pipeline position: all lanes of a position hold equally much.
Expected<std::vector<RankBytes>> bytes_by_position(const ModelConfig& config,
                                                   const std::vector<Tensor>& tensors,
                                                   const ModelShowOptions& options) {
  scheduler::Layout layout;
  WEFT_TRY_ASSIGN(layout.kind, dualpipe::parse_kind(options.schedule));
  layout.pipeline = options.pipeline;
  layout.data = options.data;
  layout.expert = options.expert;
  layout.micro_batches = 2 * options.pipeline;
  WEFT_TRY_ASSIGN(const scheduler::Placement placement,
                  scheduler::place(layout, config.num_hidden_layers));
  if (config.n_routed_experts % layout.expert != 0)
    return fail(Code::InvalidArgument, fmt::format("{} experts do not divide over {} ranks",
                                                   config.n_routed_experts, layout.expert));
  std::vector<double> dense(placement.num_stages(), 0.0), experts(placement.num_stages(), 0.0);
  for (const Tensor& tensor : tensors) {
    int stage = tensor.part == Part::Embedding ? 0 : placement.num_stages() - 1;
    for (int s = 0; s < placement.num_stages(); ++s) {
      const scheduler::StageLayers& layers = placement.stages[s];
      if (tensor.layer >= layers.first && tensor.layer < layers.first + layers.count) stage = s;
    }
    if (tensor.stored_again) continue;  // DualPipe holds embedding and head on the same rank
    (tensor.expert >= 0 ? experts : dense)[stage] += static_cast<double>(tensor.size());
  }
  const double copies = dualpipe::num_directions(layout.kind);
  std::vector<RankBytes> out;
  for (int position = 0; position < layout.pipeline; ++position) {
    RankBytes& bytes = out.emplace_back();
    for (const int stage : placement.ranks[position * layout.data].stages) {
      const double own = experts[stage] / layout.expert;
      bytes.weights += kWeightBytes * (dense[stage] + own);
      bytes.gradients += kGradientBytes * (dense[stage] + own);
      const double sharded =
          dense[stage] / (layout.data * copies) + own / (copies * layout.data / layout.expert);
      bytes.masters += kMasterBytes * sharded;
      bytes.moments += kMomentBytes * sharded;
    }
  }
  return out;
}

json tensor_json(const Tensor& tensor) {
  return {{"name", tensor.name}, {"shape", tensor.shape}, {"part", to_string(tensor.part)}};
}

/// Parameters by part, in the order in which the parts first come.
std::vector<std::pair<std::string, std::int64_t>> by_part(const std::vector<Tensor>& tensors) {
  std::vector<std::pair<std::string, std::int64_t>> sums;
  for (const Tensor& tensor : tensors) {
    if (tensor.stored_again) continue;
    const std::string name(to_string(tensor.part));
    const auto found = std::ranges::find(sums, name, &std::pair<std::string, std::int64_t>::first);
    if (found == sums.end())
      sums.emplace_back(name, tensor.size());
    else
      found->second += tensor.size();
  }
  return sums;
}

std::string attention_text(const ModelConfig& c) {
  if (!c.latent_attention())
    return fmt::format("grouped-query, {} heads of {}, {} of keys and values",
                       c.num_attention_heads, c.head_dim, c.num_key_value_heads);
  return fmt::format("latent, {} heads, keys {} + {} rotary, values {}, ranks {} (q) and {} (kv)",
                     c.num_attention_heads, c.qk_nope_head_dim, c.qk_rope_head_dim, c.v_head_dim,
                     c.q_lora_rank, c.kv_lora_rank);
}

std::string experts_text(const ModelConfig& c) {
  if (c.n_routed_experts == 0) return "none";
  return fmt::format("{} routed (top {}, {} of {} groups), {} shared, from layer {}",
                     c.n_routed_experts, c.num_experts_per_tok, c.topk_group, c.n_group,
                     c.n_shared_experts, c.first_k_dense_replace);
}

struct Shown {
  json object;
  std::vector<std::pair<std::string, std::string>> lines;
};

Expected<Shown> show(const ModelConfig& config, const ModelShowOptions& options) {
  const std::vector<Tensor> tensors = tensors_of(config);
  const Counts counts = count(config);
  const Flops flops = flops_per_token(config, options.context);
  Shown shown;
  json& out = shown.object;
  out = {{"model_type", config.model_type},
         {"layers", config.num_hidden_layers},
         {"hidden_size", config.hidden_size},
         {"vocab_size", config.vocab_size},
         {"parameters",
          {{"total", counts.total},
           {"active", counts.active},
           {"active_without_embedding", counts.active - counts.embedding},
           {"next_token_modules", counts.next_token}}},
         {"flops_per_token",
          {{"context", options.context},
           {"forward", flops.forward},
           {"forward_without_causal_discount", flops.forward_full},
           {"training", flops.training()},
           {"training_without_causal_discount", flops.training_full()}}}};
  for (const auto& [part, size] : by_part(tensors)) out["parameters"]["parts"][part] = size;
  if (options.tensors)
    for (const Tensor& tensor : tensors) out["tensors"].push_back(tensor_json(tensor));
  auto& lines = shown.lines;
  lines = {{"model", fmt::format("{}, {} layers, hidden {}, vocabulary {}", config.model_type,
                                 config.num_hidden_layers, config.hidden_size, config.vocab_size)},
           {"attention", attention_text(config)},
           {"experts", experts_text(config)},
           {"parameters", grouped(counts.total)},
           {"  of one token", grouped(counts.active) + " (embedding and head included)"}};
  if (counts.next_token > 0)
    lines.emplace_back("  next-token modules", grouped(counts.next_token) + " more");
  for (const auto& [part, size] : by_part(tensors)) lines.emplace_back("  " + part, grouped(size));
  lines.emplace_back(
      fmt::format("GFLOP a token at {}", options.context),
      fmt::format("{} forward, {} training", giga(flops.forward), giga(flops.training())));
  lines.emplace_back("  no causal discount",
                     fmt::format("{} forward, {} training", giga(flops.forward_full),
                                 giga(flops.training_full())));
  if (options.pipeline == 0) return shown;
  WEFT_TRY_ASSIGN(const auto positions, bytes_by_position(config, tensors, options));
  out["bytes_assume"] = kAssumed;
  lines.emplace_back("layout",
                     fmt::format("{}, {} positions x {} ranks, experts over {}", options.schedule,
                                 options.pipeline, options.data, options.expert));
  lines.emplace_back("  assumed of", kAssumed);
  for (std::size_t p = 0; p < positions.size(); ++p) {
    const RankBytes& bytes = positions[p];
    out["bytes_per_rank"].push_back({{"position", p},
                                     {"weights", bytes.weights},
                                     {"gradients", bytes.gradients},
                                     {"optimizer", bytes.optimizer()},
                                     {"masters", bytes.masters},
                                     {"moments", bytes.moments}});
    lines.emplace_back(
        fmt::format("position {} GB a rank", p),
        fmt::format("{} = {} weights + {} gradients + {} optimizer", giga(bytes.total()),
                    giga(bytes.weights), giga(bytes.gradients), giga(bytes.optimizer())));
  }
  return shown;
}

/// A config.json, or the directory that holds one.
Expected<ModelConfig> from_config(std::string path, Io& io) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) path += "/config.json";
  WEFT_TRY_ASSIGN(const std::string text, read_file(path, kConfigBytesMax));
  WEFT_TRY_ASSIGN(Parsed parsed, parse_config(text, path));
  for (const std::string& warning : parsed.warnings)
    io.err << "weft: warning: " << path << ": " << warning << "\n";
  return parsed.config;
}

/// A job's model, and its layout where the command line names none.
Expected<ModelConfig> from_job(ModelShowOptions& options, Io& io) {
  const runtime::Loaded loaded = runtime::load_job(
      options.config, {.overrides = {io.environment, {}}, .check_files = false, .here = false});
  if (!loaded.ok()) return fail(Code::InvalidArgument, print(loaded.diagnostics));
  io.err << print(loaded.diagnostics);
  if (options.pipeline == 0) {
    const runtime::ParallelJob& p = loaded.job.parallel;
    options.pipeline = p.pipeline;
    options.data = p.data;
    options.expert = p.expert;
    options.schedule = p.schedule;
  }
  return loaded.job.model;
}

bool is_job(const std::string& path) { return path.ends_with(".yaml") || path.ends_with(".yml"); }

}  // namespace

int verb_model_show(const ModelShowOptions& asked, Io& io) {
  ModelShowOptions options = asked;
  const auto config =
      is_job(options.config) ? from_job(options, io) : from_config(options.config, io);
  if (!config) return report(config.error(), io);
  options.context = std::min(options.context, config->max_position_embeddings);
  const auto shown = show(*config, options);
  if (!shown) return report(shown.error(), io);
  print_object(io, options.format, "model", shown->object, "model_type", shown->lines);
  if (options.tensors && options.format == Format::Table)
    for (const Tensor& tensor : tensors_of(*config))
      io.out << fmt::format("{}  [{}]\n", tensor.name, fmt::join(tensor.shape, ", "));
  return kOk;
}

}  // namespace weft::cli
