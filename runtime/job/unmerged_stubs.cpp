// Temporary: weak stand-ins for functions that other rooms implement. Delete with its target once
// dualpipe and trainer/model are merged.
#include "dualpipe/schedule.h"
#include "trainer/model/config.h"

namespace weft::dualpipe {

__attribute__((weak)) Expected<Kind> parse_kind(std::string_view text) {
  if (text == "gpipe") return Kind::GPipe;
  if (text == "1f1b") return Kind::OneFOneB;
  if (text == "dualpipe") return Kind::DualPipe;
  return fail(Code::InvalidArgument, "no schedule '" + std::string(text) + "'");
}

__attribute__((weak)) Expected<void> check_size(Kind kind, const Size& size) {
  if (kind != Kind::DualPipe) return {};
  if (size.ranks % 2 != 0)
    return fail(Code::InvalidArgument, "the number of pipeline ranks must be even; " +
                                           std::to_string(size.ranks - 1) + " or " +
                                           std::to_string(size.ranks + 1));
  if (size.micro_batches % 2 != 0 || size.micro_batches < 2 * size.ranks)
    return fail(Code::InvalidArgument,
                "micro-batches must be even and at least " + std::to_string(2 * size.ranks));
  return {};
}

__attribute__((weak)) int num_stages(Kind, int ranks, int chunks) { return ranks * chunks; }

}  // namespace weft::dualpipe

namespace weft::trainer {

__attribute__((weak)) std::vector<std::string> problems(const ModelConfig& config) {
  if (config.n_routed_experts % config.n_group == 0) return {};
  return {"n_group = " + std::to_string(config.n_group) +
          " does not divide n_routed_experts = " + std::to_string(config.n_routed_experts)};
}

}  // namespace weft::trainer
