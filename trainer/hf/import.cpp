#include "trainer/hf/import.h"

#include <fmt/format.h>

#include <cstring>

#include "trainer/checkpoint/safetensors_writer.h"

namespace weft::trainer::hf {
namespace {

using namespace checkpoint;

/// One import while it is written: a file a shard, as if so many ranks had written it.
class Importer {
 public:
  Importer(TensorSource& source, const ModelConfig& config, const ImportOptions& options,
           Disk& disk)
      : source_(source),
        options_(options),
        disk_(disk),
        shards_(plan_shards(config, Precision::F32, options.shard_bytes)) {
    for (const ShardPlan& shard : shards_)
      for (const StoredTensor& tensor : shard.tensors) total_ += tensor.bytes;
  }

  Expected<ImportReport> run(const fs::path& ckpt_dir) {
    WEFT_TRY_ASSIGN(const fs::path partial, prepare(ckpt_dir, 0, 0, disk_));
    auto report = write(ckpt_dir, partial);
    if (!report) (void)disk_.remove_tree(partial);
    return report;
  }

 private:
  Expected<ImportReport> write(const fs::path& ckpt_dir, const fs::path& partial) {
    std::vector<ShardReport> reports;
    for (std::size_t i = 0; i < shards_.size(); ++i) {
      WEFT_TRY_ASSIGN(ShardReport report, shard(partial, i));
      reports.push_back(std::move(report));
    }
    ManifestInfo info;
    info.run = options_.run;
    info.wall_time = options_.wall_time;
    info.writer = options_.writer;
    info.state = options_.state;
    info.layout.schedule = "import";
    info.expected = std::move(expected_);
    WEFT_TRY_ASSIGN(report_.committed, commit(ckpt_dir, partial, info, reports, disk_));
    return std::move(report_);
  }

  Expected<ShardReport> shard(const fs::path& partial, std::size_t index) {
    ShardReport report;
    report.rank = static_cast<int>(index);
    report.world = static_cast<int>(shards_.size());
    const std::string file = shard_file("model", report.rank);
    std::vector<TensorPlan> plan;
    for (const StoredTensor& tensor : shards_[index].tensors)
      if (tensor.name == tensor.source) plan.push_back({tensor.name, Dtype::F32, tensor.shape});
    if (!plan.empty()) WEFT_TRY(disk_.make_directories((partial / file).parent_path()));
    std::optional<SafetensorsWriter> writer;
    if (!plan.empty()) {
      WEFT_TRY_ASSIGN(
          SafetensorsWriter made,
          SafetensorsWriter::create(disk_, partial / file, plan, whole_tensor_metadata(plan)));
      writer = std::move(made);
    }
    for (const StoredTensor& tensor : shards_[index].tensors) {
      if (tensor.name != tensor.source) {
        WEFT_TRY(compare_copy(tensor));
      } else {
        WEFT_TRY_ASSIGN(TensorEntry entry, put(tensor, file, *writer));
        report.tensors.push_back(std::move(entry));
      }
      done_ += tensor.bytes;
      if (options_.on_progress) options_.on_progress(done_, total_);
    }
    if (!writer) return report;
    WEFT_TRY_ASSIGN(const std::uint64_t bytes, writer->finish());
    // Read back once: the hash is that of what reached the file.
    WEFT_TRY_ASSIGN(const Hash128 hash, hash_of_file(disk_, partial / file, bytes));
    report.files.push_back({file, bytes, hash});
    return report;
  }

  Expected<TensorEntry> put(const StoredTensor& tensor, const std::string& file,
                            SafetensorsWriter& writer) {
    WEFT_TRY(read_checked(source_, tensor.source, tensor.shape, values_));
    const auto bytes = std::as_bytes(std::span(values_));
    WEFT_TRY(writer.put(tensor.name, bytes));
    expected_.push_back({"model", tensor.name, tensor.shape});
    ++report_.tensors;
    report_.bytes += bytes.size();
    TensorEntry entry{"model", tensor.name, tensor.shape, Dtype::F32, {}};
    entry.pieces.push_back(
        {file, {Shape(tensor.shape.size(), 0), tensor.shape}, bytes.size(), hash_of(bytes)});
    return entry;
  }

  /// A copy that differs is another model: here both are one tensor.
  Expected<void> compare_copy(const StoredTensor& tensor) {
    if (!source_.has(tensor.name)) return {};
    WEFT_TRY(read_checked(source_, tensor.source, tensor.shape, values_));
    std::vector<float> copy;
    WEFT_TRY(read_checked(source_, tensor.name, tensor.shape, copy));
    if (std::memcmp(copy.data(), values_.data(), copy.size() * sizeof(float)) == 0) return {};
    return fail(Code::InvalidArgument,
                fmt::format("{}: tensor '{}' differs from '{}', of which it has to be a copy "
                            "(--drop-mtp imports the model without its next-token modules)",
                            source_.name(), tensor.name, tensor.source));
  }

  TensorSource& source_;
  const ImportOptions& options_;
  Disk& disk_;
  const std::vector<ShardPlan> shards_;
  std::vector<ExpectedTensor> expected_;
  ImportReport report_;
  std::uint64_t done_ = 0, total_ = 0;
  std::vector<float> values_;  // the present tensor; its memory is used again
};

}  // namespace

Expected<ImportReport> import_checkpoint(TensorSource& source, const ModelConfig& config,
                                         const fs::path& ckpt_dir, const ImportOptions& options,
                                         Disk& disk) {
  WEFT_TRY_ASSIGN(const std::vector<Entry> there, list(ckpt_dir, disk));
  for (const Entry& entry : there)
    if (entry.state != EntryState::Partial)
      return fail(Code::InvalidArgument, ckpt_dir.string() + " already holds " + entry.name +
                                             "; import into a directory of its own");
  return Importer(source, config, options, disk).run(ckpt_dir);
}

}  // namespace weft::trainer::hf
