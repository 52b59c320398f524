// The model and its numbers.
#include <algorithm>
#include <cctype>

#include "dualpipe/schedule.h"
#include "runtime/job/fields.h"
#include "runtime/job/rules.h"

namespace weft::runtime {
namespace {

bool mentions(std::string_view text, std::string_view word) {
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

}  // namespace

/// The model's own rules name its fields without our prefix.
void Rules::check_model() {
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

void Rules::check_precision() {
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
    warn({"fp8.scales", "precision"}, "fp8.scales is not read while precision = " + job_.precision,
         "precision: fp8");
  // A step of BF16 is up to 2^-7 of a number: a decay below half of that rounds to none.
  const double beta = std::max(job_.optimizer.beta1, job_.optimizer.beta2);
  if (job_.optimizer.moments == "bf16" && 1 - beta < 0x1p-8)
    warn({"optimizer.moments", "optimizer.beta1", "optimizer.beta2"},
         "optimizer.moments = bf16 rounds a decay of " + std::to_string(1 - beta) +
             " a step away: a moment may never fall again",
         "betas of at most 0.996, or optimizer.moments: f32");
}

}  // namespace weft::runtime
