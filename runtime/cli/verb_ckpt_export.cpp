#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "base/units.h"
#include "runtime/cli/model_source.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "trainer/gguf/export.h"

namespace weft::cli {
namespace {

using nlohmann::json;
namespace gguf = trainer::gguf;
namespace hf = trainer::hf;

hf::OnProgress progress_of(Progress& progress, const char* doing) {
  return [&progress, doing](std::uint64_t done, std::uint64_t total) {
    progress.show(fmt::format("{} {} of {}", doing, format_bytes(done), format_bytes(total)));
  };
}

void warn(const std::vector<std::string>& warnings, Io& io) {
  for (const std::string& one : warnings) io.err << "weft: warning: " << one << "\n";
}

Expected<ModelSource> open_source(const ExportOptions& options, Io& io) {
  WEFT_TRY_ASSIGN(ModelSource source,
                  open_model({options.source, options.step, options.config, options.tokenizer,
                              options.drop_next_token, options.average}));
  warn(source.warnings, io);
  return source;
}

/// The vocabulary of a GGUF file. A model whose tokenizer nobody knows cannot have one.
Expected<gguf::Vocabulary> vocabulary_of(const ModelSource& source) {
  if (source.byte_tokenizer)
    return gguf::byte_vocabulary(*source.byte_tokenizer, source.config.vocab_size);
  const std::string text = source.file("tokenizer.json");
  if (text.empty())
    return fail(Code::NotFound,
                "a GGUF file holds its tokenizer, and there is no tokenizer.json: name a directory "
                "that has one by --tokenizer");
  return gguf::parse_vocabulary(text, source.file("tokenizer_config.json"),
                                source.config.vocab_size);
}

int print_report(const ExportOptions& options, const std::vector<std::string>& files,
                 std::uint64_t tensors, std::uint64_t bytes, const char* verb, Io& io) {
  const json out = {
      {"output", options.output}, {"files", files}, {"tensors", tensors}, {"bytes", bytes}};
  print_object(io, options.format, verb, out, "output",
               {{"written", options.output},
                {"files", std::to_string(files.size())},
                {"tensors", fmt::format("{} in {}", tensors, format_bytes(bytes))}});
  return kOk;
}

Expected<hf::ExportReport> export_hf(const ExportOptions& options, Io& io) {
  WEFT_TRY_ASSIGN(const ModelSource source, open_source(options, io));
  hf::ExportOptions to;
  to.precision = *hf::parse_precision(options.dtype);
  to.drop_next_token = options.drop_next_token;
  to.sha256 = options.sha256;
  to.files = source.files;
  WEFT_TRY_ASSIGN(to.shard_bytes, parse_bytes(options.shard_size));
  if (source.byte_tokenizer) {
    to.token_ids.bos = trainer::tokenizer::byte_ids::kBos;
    to.token_ids.eos = trainer::tokenizer::byte_ids::kEos;
  }
  if (source.files.empty())
    io.err << "weft: warning: no tokenizer files are known; --tokenizer names a directory\n";
  Progress progress(io, options.quiet);
  to.on_progress = progress_of(progress, "exporting");
  return hf::export_directory(*source.tensors, source.config, options.output, to);
}

Expected<gguf::ExportReport> export_gguf(const ExportOptions& options, Io& io) {
  WEFT_TRY_ASSIGN(const ModelSource source, open_source(options, io));
  WEFT_TRY(gguf::check_expressible(source.config));
  gguf::ExportOptions to;
  to.type = *gguf::parse_type(options.dtype);
  to.name = source.name;
  WEFT_TRY_ASSIGN(to.vocabulary, vocabulary_of(source));
  warn(to.vocabulary.caveats, io);
  if (!options.shard_size.empty()) {
    WEFT_TRY_ASSIGN(to.shard_bytes, parse_bytes(options.shard_size));
  }
  Progress progress(io, options.quiet);
  to.on_progress = progress_of(progress, "exporting");
  return gguf::export_file(*source.tensors, source.config, options.output, to);
}

/// What the caller asked wrongly here is the command line, not a job.
int report_usage(const Error& error, Io& io) {
  const int code = report(error, io);
  return code == kConfiguration ? kUsage : code;
}

}  // namespace

int verb_ckpt_export_hf(const ExportOptions& options, Io& io) {
  const auto done = export_hf(options, io);
  if (!done) return report_usage(done.error(), io);
  return print_report(options, done->files, done->tensors, done->bytes, "ckpt.export.hf", io);
}

int verb_ckpt_export_gguf(const ExportOptions& options, Io& io) {
  const auto done = export_gguf(options, io);
  if (!done) return report_usage(done.error(), io);
  return print_report(options, done->files, done->tensors, done->bytes, "ckpt.export.gguf", io);
}

int show_gguf(const std::string& path, Format format, Io& io) {
  const auto header = gguf::read_header(path);
  if (!header) return report(header.error(), io);
  json keys = json::object(), tensors = json::array();
  for (const auto& [key, value] : header->keys) keys[key] = gguf::to_string(value);
  std::uint64_t bytes = 0;
  for (const gguf::TensorInfo& tensor : header->tensors) {
    bytes += tensor.bytes;
    tensors.push_back({{"name", tensor.name},
                       {"type", gguf::type_name(tensor.type)},
                       {"dims", tensor.dims},
                       {"bytes", tensor.bytes}});
  }
  const json out = {{"path", path}, {"keys", keys}, {"tensors", tensors}, {"bytes", bytes}};
  std::vector<std::pair<std::string, std::string>> lines = {
      {"file", path},
      {"tensors", fmt::format("{} in {}", header->tensors.size(), format_bytes(bytes))}};
  for (const auto& [key, value] : header->keys) lines.emplace_back(key, gguf::to_string(value));
  print_object(io, format, "ckpt.show", out, "path", lines);
  return kOk;
}

}  // namespace weft::cli
