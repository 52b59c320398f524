#include "trainer/gguf/export.h"

#include <fmt/format.h>

#include "trainer/gguf/header.h"

namespace weft::trainer::gguf {
namespace {

namespace fs = std::filesystem;
using checkpoint::Disk;

std::uint64_t stored_bytes(const OutTensor& tensor) {
  std::uint64_t elements = 1;
  for (const std::uint64_t length : tensor.dims) elements *= length;
  return bytes_of(static_cast<std::uint32_t>(tensor.type), elements).value_or(0);
}

/// Tensors in order, a new file where the next one would exceed `bytes_max`; never cut.
std::vector<std::vector<OutTensor>> cut(std::vector<OutTensor> all, std::uint64_t bytes_max) {
  std::vector<std::vector<OutTensor>> files(1);
  std::uint64_t used = 0;
  for (OutTensor& tensor : all) {
    const std::uint64_t bytes = stored_bytes(tensor);
    if (bytes_max > 0 && used > 0 && used + bytes > bytes_max) {
      files.emplace_back();
      used = 0;
    }
    used += bytes;
    files.back().push_back(std::move(tensor));
  }
  return files;
}

class Exporter {
 public:
  Exporter(hf::TensorSource& source, const ModelConfig& config, const ExportOptions& options,
           Disk& disk)
      : source_(source), config_(config), options_(options), disk_(disk) {}

  Expected<ExportReport> run(const fs::path& target) {
    const std::vector<OutTensor> all = tensors(config_, options_.type);
    for (const OutTensor& tensor : all) total_ += stored_bytes(tensor);
    const auto files = cut(all, options_.shard_bytes);
    for (std::size_t i = 0; i < files.size(); ++i) {
      Header header;
      if (i == 0) header.keys = keys(config_, options_.type, options_.vocabulary, options_.name);
      if (files.size() > 1) {
        header.keys.emplace_back("split.no", Value::u16(static_cast<std::uint16_t>(i)));
        header.keys.emplace_back("split.count",
                                 Value::u16(static_cast<std::uint16_t>(files.size())));
        header.keys.emplace_back("split.tensors.count",
                                 Value::i32(static_cast<std::int32_t>(all.size())));
      }
      fs::path path = target;
      if (files.size() > 1)
        path.replace_filename(
            fmt::format("{}-{:05}-of-{:05}.gguf", target.stem().string(), i + 1, files.size()));
      WEFT_TRY(write_whole(path, files[i], std::move(header)));
    }
    return std::move(report_);
  }

 private:
  Expected<void> write_whole(const fs::path& path, const std::vector<OutTensor>& tensors,
                             Header header) {
    WEFT_TRY_ASSIGN(const fs::path partial, hf::prepare_target(path, disk_));
    const auto written = write(partial, tensors, std::move(header));
    if (!written) {
      (void)disk_.remove_tree(partial);
      return written;
    }
    WEFT_TRY(hf::publish_target(partial, path, disk_));
    report_.files.push_back(path.string());
    return {};
  }

  Expected<void> write(const fs::path& path, const std::vector<OutTensor>& tensors, Header header) {
    for (const OutTensor& tensor : tensors)
      header.tensors.push_back(
          {tensor.name, tensor.dims, static_cast<std::uint32_t>(tensor.type), 0, 0});
    WEFT_TRY(lay_out(header));
    const std::string text = format_header(header);
    WEFT_TRY_ASSIGN(const auto file, disk_.create(path));
    WEFT_TRY(file->write_at(0, std::as_bytes(std::span(text))));
    for (std::size_t i = 0; i < tensors.size(); ++i)
      WEFT_TRY(put(tensors[i], header.data_start + header.tensors[i].offset, *file));
    WEFT_TRY(pad(header, *file));
    return file->sync();
  }

  Expected<void> put(const OutTensor& tensor, std::uint64_t at, checkpoint::File& file) {
    for (const Source& from : tensor.sources) {
      WEFT_TRY(hf::read_checked(source_, from.tensor, from.shape, values_));
      if (tensor.transform != Transform::Whole) {
        transform(config_, tensor.transform, values_, changed_);
        values_.swap(changed_);
      }
      if (const auto good = encode(values_, tensor.type, bytes_); !good)
        return fail_in("tensor '" + from.tensor + "'", good.error());
      WEFT_TRY(file.write_at(at, bytes_));
      at += bytes_.size();
      report_.bytes += bytes_.size();
      if (options_.on_progress) options_.on_progress(report_.bytes, total_);
    }
    ++report_.tensors;
    return {};
  }

  /// The last tensor too is followed by the bytes that align what would come next. Gaps inside are
  /// holes of the file, which read as zeros.
  static Expected<void> pad(const Header& header, checkpoint::File& file) {
    if (header.tensors.empty()) return {};
    const TensorInfo& last = header.tensors.back();
    const std::uint64_t end = header.data_start + last.offset + last.bytes;
    const std::vector<std::byte> zeros((kAlignment - end % kAlignment) % kAlignment);
    return file.write_at(end, zeros);
  }

  hf::TensorSource& source_;
  const ModelConfig& config_;
  const ExportOptions& options_;
  Disk& disk_;
  ExportReport report_;
  std::uint64_t total_ = 0;
  std::vector<float> values_, changed_;  // the present tensor; their memory is used again
  std::vector<std::byte> bytes_;
};

}  // namespace

Expected<ExportReport> export_file(hf::TensorSource& source, const ModelConfig& config,
                                   const fs::path& file, const ExportOptions& options, Disk& disk) {
  WEFT_TRY(check_expressible(config));
  if (file.extension() != ".gguf")
    return fail(Code::InvalidArgument, file.string() + ": the name of a GGUF file ends in .gguf");
  if (options.vocabulary.tokens.size() != static_cast<std::size_t>(config.vocab_size))
    return fail(Code::InvalidArgument,
                fmt::format("the vocabulary has {} tokens, the model {}",
                            options.vocabulary.tokens.size(), config.vocab_size));
  return Exporter(source, config, options, disk).run(file);
}

}  // namespace weft::trainer::gguf
