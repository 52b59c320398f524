#include "trainer/hf/export.h"

#include <fmt/format.h>

#include "base/sha256.h"
#include "trainer/checkpoint/safetensors_writer.h"
#include "trainer/hf/directory.h"
#include "trainer/hf/index_file.h"
#include "trainer/hf/number_formats.h"

namespace weft::trainer::hf {
namespace {

using checkpoint::Dtype;
using checkpoint::SafetensorsWriter;
using checkpoint::Shape;
using checkpoint::TensorPlan;

BlockedShape blocked(const StoredTensor& tensor, const ModelConfig& config) {
  return {tensor.shape[0], tensor.shape[1], config.fp8_block_rows, config.fp8_block_columns};
}

std::vector<TensorPlan> file_plan(const ShardPlan& shard, const ModelConfig& config) {
  std::vector<TensorPlan> plan;
  for (const StoredTensor& tensor : shard.tensors) {
    plan.push_back({tensor.name, tensor.dtype, tensor.shape});
    if (!tensor.fp8) continue;
    const BlockedShape shape = blocked(tensor, config);
    plan.push_back(
        {scale_name(tensor.name), Dtype::F32, {shape.scale_rows(), shape.scale_columns()}});
  }
  return plan;
}

Expected<std::string> sha256_of_file(checkpoint::Disk& disk, const fs::path& path) {
  WEFT_TRY_ASSIGN(const auto file, disk.open(path));
  WEFT_TRY_ASSIGN(const std::uint64_t bytes, file->size());
  Sha256 sum;
  WEFT_TRY(checkpoint::read_pieces(*file, bytes, [&](auto piece) { sum.add(piece); }));
  return sum.finish();
}

/// One export while it is written.
class Exporter {
 public:
  Exporter(TensorSource& source, const ModelConfig& config, const ExportOptions& options,
           checkpoint::Disk& disk, fs::path directory)
      : source_(source),
        config_(published(config, options.precision, options.drop_next_token)),
        options_(options),
        disk_(disk),
        directory_(std::move(directory)) {}

  Expected<ExportReport> run() {
    const std::vector<ShardPlan> shards =
        plan_shards(config_, options_.precision, options_.shard_bytes);
    for (const ShardPlan& shard : shards)
      for (const StoredTensor& tensor : shard.tensors) total_ += tensor.bytes;
    WEFT_TRY(text_file("config.json", write_config(config_, options_.token_ids)));
    for (const SideFile& file : options_.files) WEFT_TRY(text_file(file.name, file.content));
    IndexFile index;
    for (const ShardPlan& shard : shards) WEFT_TRY(weight_file(shard, index));
    index.total_size = report_.bytes;
    if (shards.size() > 1) WEFT_TRY(text_file(kIndexFile, format_index(index)));
    if (options_.sha256) WEFT_TRY(text_file("SHA256SUMS", sums_));
    return std::move(report_);
  }

 private:
  Expected<void> text_file(const std::string& name, const std::string& content) {
    WEFT_TRY(checkpoint::write_text(disk_, directory_ / name, content));
    return wrote(name);
  }

  Expected<void> wrote(const std::string& name) {
    report_.files.push_back(name);
    if (!options_.sha256) return {};
    WEFT_TRY_ASSIGN(const std::string sum, sha256_of_file(disk_, directory_ / name));
    sums_ += sum + "  " + name + "\n";
    return {};
  }

  Expected<void> weight_file(const ShardPlan& shard, IndexFile& index) {
    WEFT_TRY_ASSIGN(SafetensorsWriter file,
                    SafetensorsWriter::create(disk_, directory_ / shard.file,
                                              file_plan(shard, config_), {{"format", "pt"}}));
    for (const checkpoint::TensorInfo& tensor : file.tensors())
      index.weight_map.emplace(tensor.name, shard.file);
    for (const StoredTensor& tensor : shard.tensors) {
      WEFT_TRY(read_checked(source_, tensor.source, tensor.shape, values_));
      WEFT_TRY(tensor.fp8 ? put_fp8(tensor, file) : put_plain(tensor, file));
      report_.tensors += tensor.fp8 ? 2 : 1;
      report_.bytes += tensor.bytes;
      if (options_.on_progress) options_.on_progress(report_.bytes, total_);
    }
    WEFT_TRY(file.finish());
    return wrote(shard.file);
  }

  Expected<void> put_plain(const StoredTensor& tensor, SafetensorsWriter& file) {
    if (tensor.dtype == Dtype::F32) return file.put(tensor.name, std::as_bytes(std::span(values_)));
    bytes_.resize(tensor.bytes);
    if (const auto good = encode(values_, tensor.dtype, bytes_); !good)
      return fail_in("tensor '" + tensor.name + "'", good.error());
    return file.put(tensor.name, bytes_);
  }

  Expected<void> put_fp8(const StoredTensor& tensor, SafetensorsWriter& file) {
    const BlockedShape shape = blocked(tensor, config_);
    std::vector<float> scales(static_cast<std::size_t>(shape.scale_rows() * shape.scale_columns()));
    std::vector<std::uint8_t> codes(values_.size());
    quantize_blocks(shape, values_, codes, scales);
    WEFT_TRY(file.put(tensor.name, std::as_bytes(std::span(codes))));
    return file.put(scale_name(tensor.name), std::as_bytes(std::span(scales)));
  }

  TensorSource& source_;
  const ModelConfig config_;
  const ExportOptions& options_;
  checkpoint::Disk& disk_;
  const fs::path directory_;
  ExportReport report_;
  std::string sums_;
  std::uint64_t total_ = 0;
  std::vector<float> values_;  // the present tensor; its memory is used again
  std::vector<std::byte> bytes_;
};

}  // namespace

Expected<void> read_checked(TensorSource& source, const std::string& tensor, const Shape& shape,
                            std::vector<float>& values) {
  WEFT_TRY_ASSIGN(const Shape there, source.shape(tensor));
  if (there != shape)
    return fail(Code::InvalidArgument,
                fmt::format("{}: tensor '{}' has shape {}, its config makes it {}", source.name(),
                            tensor, checkpoint::to_string(there), checkpoint::to_string(shape)));
  values.resize(*checkpoint::num_elements(shape));
  WEFT_TRY(source.read(tensor, values));
  if (const auto good = check_finite(values); !good)
    return fail_in(source.name() + ": tensor '" + tensor + "'", good.error());
  return {};
}

Expected<fs::path> prepare_target(const fs::path& target, checkpoint::Disk& disk) {
  std::error_code error;
  if (fs::exists(target, error) &&
      !(fs::is_directory(target, error) && fs::is_empty(target, error)))
    return fail(Code::InvalidArgument,
                target.string() + " is there already; choose another name, or remove it yourself");
  fs::path partial = target.has_filename() ? target : target.parent_path();
  partial += ".partial";
  WEFT_TRY(disk.remove_tree(partial));
  return partial;
}

Expected<void> publish_target(const fs::path& partial, const fs::path& target,
                              checkpoint::Disk& disk) {
  WEFT_TRY(disk.rename(partial, target.has_filename() ? target : target.parent_path()));
  const fs::path parent = partial.parent_path();
  return disk.sync_directory(parent.empty() ? "." : parent);
}

Expected<ExportReport> export_directory(TensorSource& source, const ModelConfig& config,
                                        const fs::path& directory, const ExportOptions& options,
                                        checkpoint::Disk& disk) {
  WEFT_TRY_ASSIGN(const fs::path partial, prepare_target(directory, disk));
  WEFT_TRY(disk.make_directories(partial));
  auto report = Exporter(source, config, options, disk, partial).run();
  if (!report) {
    (void)disk.remove_tree(partial);
    return report;
  }
  WEFT_TRY(disk.sync_directory(partial));
  WEFT_TRY(publish_target(partial, directory, disk));
  return report;
}

}  // namespace weft::trainer::hf
