#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/units.h"
#include "runtime/agent/signals.h"
#include "runtime/cli/checkpoint_source.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "scheduler/placement.h"
#include "trainer/checkpoint/reshard.h"

namespace weft::cli {
namespace {

using nlohmann::json;
namespace checkpoint = trainer::checkpoint;
namespace fs = std::filesystem;

/// "pipeline=4,data=2,expert=2,schedule=dualpipe"; what is left out stays as it was.
Expected<scheduler::Layout> parse_layout(const std::string& text,
                                         const checkpoint::Layout& before) {
  scheduler::Layout layout;
  layout.pipeline = before.pipeline;
  layout.data = before.data;
  layout.expert = before.expert;
  std::string schedule = before.schedule;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string word = text.substr(at, end - at);
    at = end + 1;
    const std::size_t equals = std::min(word.find('='), word.size());
    const std::string key = word.substr(0, equals),
                      value = word.substr(std::min(equals + 1, word.size()));
    int* const number = key == "pipeline" ? &layout.pipeline
                        : key == "data"   ? &layout.data
                        : key == "expert" ? &layout.expert
                                          : nullptr;
    if (number != nullptr) {
      const auto [stop, error] =
          std::from_chars(value.data(), value.data() + value.size(), *number);
      if (error == std::errc() && stop == value.data() + value.size() && *number >= 1 &&
          *number <= 65536)
        continue;
      return fail(Code::InvalidArgument, "--layout: '" + word + "' needs a number from 1 to 65536");
    }
    if (key != "schedule")
      return fail(Code::InvalidArgument, "--layout: '" + word +
                                             "' is none of pipeline=P, data=D, expert=E, "
                                             "schedule=KIND");
    schedule = value;
  }
  const auto kind = dualpipe::parse_kind(schedule);
  if (!kind) return fail(Code::InvalidArgument, "--layout: " + kind.error().message);
  layout.kind = *kind;
  layout.micro_batches = 2 * layout.pipeline;  // says nothing about files; legal for every kind
  return layout;
}

/// The number behind `mark` in a tensor's name, or -1.
int number_after(const std::string& name, const std::string& mark) {
  const std::size_t at = name.find(mark);
  if (at == std::string::npos) return -1;
  int number = -1;
  std::from_chars(name.data() + at + mark.size(), name.data() + name.size(), number);
  return number;
}

/// Each tensor to the ranks that would hold it in `layout`, by the layer and expert in its name.
Expected<std::vector<checkpoint::Share>> share_by_layout(const checkpoint::Manifest& manifest,
                                                         const scheduler::Layout& layout) {
  int layers = 0, experts = 0;
  for (const checkpoint::TensorEntry& tensor : manifest.tensors) {
    layers = std::max(layers, number_after(tensor.name, "layers.") + 1);
    experts = std::max(experts, number_after(tensor.name, ".experts.") + 1);
  }
  WEFT_TRY_ASSIGN(const scheduler::Placement placement, scheduler::place(layout, layers));
  const auto stage_of = [&](const std::string& name) {
    const int layer = number_after(name, "layers.");
    if (layer < 0) return name.find("embed") != std::string::npos ? 0 : placement.num_stages() - 1;
    int stage = 0;
    while (stage + 1 < placement.num_stages() && layer >= placement.stages[stage + 1].first)
      ++stage;
    return stage;
  };
  return checkpoint::share_by_owner(
      manifest, layout.world(), [&](const checkpoint::TensorEntry& tensor) {
        std::vector<int> ranks = placement.holders(stage_of(tensor.name));
        const int expert = number_after(tensor.name, ".experts.");
        if (expert < 0) return ranks;
        const int shard =
            static_cast<int>(static_cast<long long>(expert) * layout.expert / experts);
        std::vector<int> holders;
        for (const int rank : ranks)
          if (placement.ranks[rank].expert_shard == shard) holders.push_back(rank);
        return holders.empty() ? ranks : holders;
      });
}

/// `stopped`: a signal has asked for it. Until it is looked at, between tensors, signals wait, so
/// that nothing half-written stays.
Expected<checkpoint::Committed> reshard(const ReshardVerbOptions& options, Progress& progress,
                                        bool& stopped) {
  const runtime::SignalDescriptor signals;
  WEFT_TRY_ASSIGN(const NamedCheckpoint source, find_checkpoint(options.source, options.step));
  WEFT_TRY_ASSIGN(checkpoint::Reader reader, checkpoint::Reader::open(source.directory));
  checkpoint::ReshardOptions to;
  to.output = options.output;
  to.writer = reader.manifest().writer;
  to.layout = reader.manifest().layout;
  std::vector<checkpoint::Share> shares;
  if (options.layout.empty()) {
    to.ranks = options.ranks;
    shares = checkpoint::share_evenly(reader.manifest(), to.ranks);
  } else {
    WEFT_TRY_ASSIGN(const scheduler::Layout layout,
                    parse_layout(options.layout, reader.manifest().layout));
    to.ranks = layout.world();
    to.layout = {layout.pipeline, layout.data, layout.expert,
                 std::string(dualpipe::to_string(layout.kind))};
    WEFT_TRY_ASSIGN(shares, share_by_layout(reader.manifest(), layout));
  }
  to.progress = [&](int rank) -> Expected<void> {
    progress.show(fmt::format("rank {}/{}", rank + 1, to.ranks));
    stopped = stopped || signals.take().stops > 0;
    if (stopped) return fail(Code::Unavailable, "interrupted; nothing was written");
    return {};
  };
  return checkpoint::reshard(reader, shares, to);
}

}  // namespace

int verb_ckpt_reshard(const ReshardVerbOptions& options, Io& io) {
  if (options.layout.empty() == (options.ranks == 0)) {
    io.err << "weft: error: say either --ranks N or --layout pipeline=P,data=D,...\n";
    return kUsage;
  }
  bool stopped = false;
  const auto made = [&] {
    Progress progress(io, options.quiet);
    return reshard(options, progress, stopped);
  }();
  if (!made) {
    const int code = report(made.error(), io);
    return stopped ? kInterrupted : code;
  }
  const checkpoint::Manifest& manifest = made->manifest;
  const std::string directory = made->directory.string();
  const json out = {{"name", made->directory.filename().string()},
                    {"path", directory},
                    {"step", manifest.step},
                    {"bytes", manifest.bytes()},
                    {"files", manifest.files.size()},
                    {"tensors", manifest.tensors.size()}};
  print_object(io, options.format, "ckpt.reshard", out, "path",
               {{"path", directory},
                {"tensors", fmt::format("{} in {} files, {}", manifest.tensors.size(),
                                        manifest.files.size(), format_bytes(manifest.bytes()))}});
  io.err << "Compare them with: weft ckpt diff " << options.source << " " << directory << "\n";
  return kOk;
}

}  // namespace weft::cli
