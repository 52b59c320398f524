#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/files.h"
#include "base/text.h"
#include "base/units.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/render.h"
#include "runtime/cli/run_directory.h"
#include "runtime/cli/verbs.h"
#include "runtime/job/load.h"
#include "runtime/worker/file_data.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace runtime;
namespace corpus = trainer::corpus;
namespace fs = std::filesystem;

/// A directory that is gone at the end.
class Scratch {
 public:
  Scratch() {
    std::string name = (fs::temp_directory_path() / "weft-data-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~Scratch() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

bool is_job(const std::string& source) {
  return source.ends_with(".yaml") || source.ends_with(".yml");
}

/// A source alone is looked at as a job that pre-trains on it would read it.
Loaded load(const DataShowOptions& options, Io& io) {
  const LoadOptions how{.overrides = {io.environment, options.set}};
  if (is_job(options.source)) return load_job(options.source, how);
  const std::string text =
      "model: {vocab_size: 16777216, max_position_embeddings: 1048576}\n"
      "data: {task: files, train: [" +
      json(options.source).dump(-1, ' ', true, json::error_handler_t::replace) + "]}\n";
  return load_job_text(text, options.source, how);
}

/// Control characters and broken UTF-8 must not reach a terminal.
std::string harmless(std::string text) {
  std::ranges::replace_if(
      text, [](unsigned char c) { return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f; }, '?');
  return text;
}

/// The text with its special tokens written out; "┃" stands where the loss begins.
std::string visible(const corpus::Coder& coder, const trainer::data::Example& example) {
  std::string out;
  std::vector<std::int32_t> plain;
  const auto flush = [&] {
    out += coder.decode(plain);
    plain.clear();
  };
  for (std::size_t i = 0; i < example.tokens.size(); ++i) {
    if (static_cast<int>(i) == example.prompt_length && example.prompt_length > 1) {
      flush();
      out += "┃";
    }
    const std::string special = coder.special_text(example.tokens[i]);
    if (special.empty()) {
      plain.push_back(example.tokens[i]);
      continue;
    }
    flush();
    out += special;
  }
  flush();
  return out;
}

json source_json(const corpus::Dataset& set, std::size_t s) {
  const corpus::Index& index = *set.sources()[s];
  const corpus::IndexCounts& c = index.counts();
  json files = json::array();
  for (const corpus::SourceFile& file : index.files())
    files.push_back({{"path", file.path}, {"bytes", file.size}, {"hash", file.hash}});
  json kinds = json::object();
  for (int d = 0; d < corpus::kNumDialects; ++d)
    if (c.dialects[d] > 0)
      kinds[corpus::to_string(static_cast<corpus::Dialect>(d))] = c.dialects[d];
  return {{"source", index.pattern()},
          {"files", files},
          {"kinds", kinds},
          {"documents", index.documents(corpus::Part::Train)},
          {"held_out", index.documents(corpus::Part::Held)},
          {"text_bytes", c.text_bytes},
          {"tokens", c.tokens},
          {"tokens_are", "exact"},
          {"longest", c.longest},
          {"windows", set.windows(s)},
          {"share", set.share(s)},
          {"left_out",
           {{"empty", c.empty},
            {"bad_lines", c.bad_lines},
            {"prompt_too_long", set.packer(s).left_out()}}},
          {"truncated", set.packer(s).truncated()}};
}

json histogram(const corpus::Dataset& set) {
  json out = json::array();
  std::array<std::uint64_t, 33> lengths{};
  for (const auto& source : set.sources())
    for (std::size_t b = 0; b < lengths.size(); ++b) lengths[b] += source->counts().lengths[b];
  for (std::size_t b = 0; b < lengths.size(); ++b)
    if (lengths[b] > 0)
      out.push_back({{"from", b == 0 ? 0 : std::uint64_t{1} << (b - 1)},
                     {"to", (std::uint64_t{1} << b) - 1},
                     {"documents", lengths[b]}});
  return out;
}

/// The first samples that training takes.
Expected<json> samples(const FileData& data, const corpus::Dataset& set, int count) {
  json out = json::array();
  for (int i = 0; i < count; ++i) {
    WEFT_TRY_ASSIGN(const auto plan, set.plan(static_cast<std::uint64_t>(i), 1));
    json sequences = json::array();
    for (const corpus::Planned& planned : plan) {
      WEFT_TRY_ASSIGN(const trainer::data::Example example, set.read(planned));
      sequences.push_back({{"tokens", example.tokens.size()},
                           {"prompt_tokens", example.prompt_length},
                           {"text", visible(*data.coder, example)}});
    }
    out.push_back({{"sample", i},
                   {"source", set.sources()[plan.front().source]->pattern()},
                   {"epoch", plan.front().epoch},
                   {"window", plan.front().window},
                   {"sequences", sequences}});
  }
  return out;
}

Expected<json> stage_json(const FileData& data, const StageData& stage, int count) {
  json out = {{"sources", json::array()},
              {"windows", stage.train->windows()},
              {"lengths", histogram(*stage.train)}};
  for (std::size_t s = 0; s < stage.train->sources().size(); ++s)
    out["sources"].push_back(source_json(*stage.train, s));
  if (stage.validation)
    out["validation"] = {{"windows", stage.validation->windows()},
                         {"looked_at", stage.validation_windows}};
  WEFT_TRY_ASSIGN(out["samples"], samples(data, *stage.train, count));
  return out;
}

void print_stage(const std::string& name, const json& stage, Io& io) {
  for (const json& s : stage["sources"]) {
    const auto n = [&](const char* key) { return s[key].get<std::uint64_t>(); };
    io.out << fmt::format("{}  {}: {} in {} file{}\n", name, s["source"].get<std::string>(),
                          format_bytes(n("text_bytes")), s["files"].size(),
                          s["files"].size() == 1 ? "" : "s");
    io.out << fmt::format(
        "  documents  {} to train on, {} held out\n"
        "  tokens     {} exactly, by the job's tokenizer; the longest document has {}\n"
        "  an epoch   {} windows; {:.1f} % of the samples\n",
        n("documents"), n("held_out"), n("tokens"), n("longest"), n("windows"),
        100 * s["share"].get<double>());
    if (const json& out = s["left_out"]; out["prompt_too_long"].get<std::uint64_t>() > 0)
      io.out << fmt::format("  left out   {} prompts without room for an answer in data.context\n",
                            out["prompt_too_long"].get<std::uint64_t>());
    if (n("truncated") > 0)
      io.out << fmt::format("  cut off    {} answers at the end of data.context\n", n("truncated"));
  }
  std::uint64_t most = 1;
  for (const json& bar : stage["lengths"])
    most = std::max(most, bar["documents"].get<std::uint64_t>());
  io.out << "  lengths, in tokens\n";
  for (const json& bar : stage["lengths"]) {
    const auto count = bar["documents"].get<std::uint64_t>();
    io.out << fmt::format("  {:>9} to {:<9} {:>9}  {}\n", bar["from"].get<std::uint64_t>(),
                          bar["to"].get<std::uint64_t>(), count,
                          std::string(1 + count * 40 / most, '#'));
  }
  for (const json& sample : stage["samples"]) {
    io.out << fmt::format("\nsample {} (epoch {}, window {} of {})\n", sample["sample"].get<int>(),
                          sample["epoch"].get<std::uint64_t>(),
                          sample["window"].get<std::uint64_t>(),
                          sample["source"].get<std::string>());
    for (const json& sequence : sample["sequences"])
      io.out << fmt::format(
          "── {} tokens, loss from token {} on\n{}\n", sequence["tokens"].get<std::size_t>(),
          sequence["prompt_tokens"].get<int>(), harmless(sequence["text"].get<std::string>()));
  }
}

}  // namespace

Expected<void> prepare_data(const Job& job, const fs::path& run, bool quiet, Io& io) {
  if (job.device == "virtual" || job.data.task != "files") return {};
  Progress progress(io, quiet);
  WEFT_TRY_ASSIGN(
      const FileData data,
      open_file_data(job, data_directory(job, run), [&](const corpus::BuildProgress& at) {
        progress.show(fmt::format("reading {}  {} of {}", at.file, format_bytes(at.bytes),
                                  format_bytes(at.total_bytes)));
      }));
  for (const std::string& warning : data.warnings) progress.note("warning: " + warning);
  return {};
}

int verb_data_show(const DataShowOptions& options, Io& io) {
  const Loaded loaded = load(options, io);
  if (!loaded.ok() || is_job(options.source))
    io.err << print(loaded.diagnostics, {.color = io.color_err});
  if (!loaded.ok()) return kConfiguration;
  const Job& job = loaded.job;
  if (job.data.task != "files")
    return report(
        {Code::InvalidArgument, options.source + " learns from data.task = " + job.data.task +
                                    ", which is not made of files; 'weft data show' "
                                    "looks at data.task = files"},
        io);
  const Scratch scratch;
  const auto shown = [&]() -> Expected<json> {
    Progress progress(io, false);
    const auto tell = [&](const corpus::BuildProgress& at) {
      progress.show(fmt::format("reading {}  {} of {}", at.file, format_bytes(at.bytes),
                                format_bytes(at.total_bytes)));
    };
    const fs::path place = job.data.cache.empty() ? scratch.path() : fs::path(job.data.cache);
    WEFT_TRY_ASSIGN(const FileData data, open_file_data(job, place, tell));
    json out = {{"source", options.source}, {"warnings", data.warnings}};
    if (data.pretrain.train) {
      WEFT_TRY_ASSIGN(out["pretrain"], stage_json(data, data.pretrain, options.samples));
    }
    if (data.cold_start.train) {
      WEFT_TRY_ASSIGN(out["cold_start"], stage_json(data, data.cold_start, options.samples));
    }
    return out;
  }();
  if (!shown) return report(shown.error(), io);
  if (options.format != Format::Table) {
    print_object(io, options.format, "data", *shown, "source", {});
    return kOk;
  }
  for (const json& warning : (*shown)["warnings"])
    io.err << "weft: warning: " << warning.get<std::string>() << "\n";
  for (const char* stage : {"pretrain", "cold_start"})
    if (shown->contains(stage)) print_stage(stage, (*shown)[stage], io);
  return kOk;
}

}  // namespace weft::cli
