#include "trainer/checkpoint/safetensors_writer.h"

#include <algorithm>

#include "base/check.h"
#include "trainer/checkpoint/strict_json.h"

namespace weft::trainer::checkpoint {
namespace {

Expected<void> check_plan(const TensorPlan& plan) {
  if (plan.name.empty() || plan.name == "__metadata__")
    return fail(Code::InvalidArgument, "not a name that a tensor may have");
  WEFT_TRY(check_utf8(plan.name, "its name"));
  const auto elements = num_elements(plan.shape);
  if (!elements) return fail(Code::InvalidArgument, elements.error().message);
  if (*elements > std::uint64_t{1} << 56) return fail(Code::InvalidArgument, "too large");
  return {};
}

}  // namespace

Expected<SafetensorsWriter> SafetensorsWriter::create(
    Disk& disk, const fs::path& path, std::vector<TensorPlan> tensors,
    const std::map<std::string, std::string>& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorPlan& a, const TensorPlan& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });
  SafetensorsWriter writer;
  writer.path_ = path;
  std::uint64_t at = 0;
  for (TensorPlan& plan : tensors) {
    auto good = check_plan(plan);
    if (good && !writer.waiting_.emplace(plan.name, writer.tensors_.size()).second)
      good = fail(Code::InvalidArgument, "planned twice");
    if (!good) return fail_in(path.string() + ": tensor '" + plan.name + "'", good.error());
    const std::uint64_t bytes = *num_elements(plan.shape) * bytes_of(plan.dtype);
    writer.tensors_.push_back(
        {std::move(plan.name), plan.dtype, std::move(plan.shape), at, at + bytes});
    at += bytes;
  }
  const std::string header = format_header(writer.tensors_, metadata);
  if (header.size() - 8 > kHeaderBytesMax)
    return fail(Code::InvalidArgument,
                path.string() + ": " + std::to_string(writer.tensors_.size()) +
                    " tensors do not fit one header; use more, smaller files");
  WEFT_TRY_ASSIGN(writer.file_, disk.create(path));
  WEFT_TRY(writer.file_->write_at(0, std::as_bytes(std::span(header))));
  writer.data_start_ = header.size();
  return writer;
}

Expected<void> SafetensorsWriter::put(const std::string& name, std::span<const std::byte> bytes) {
  const auto planned = waiting_.find(name);
  WEFT_CHECK(planned != waiting_.end(), "not planned, or put twice: " + name);
  const TensorInfo& tensor = tensors_[planned->second];
  WEFT_CHECK(bytes.size() == tensor.end - tensor.begin, name);
  waiting_.erase(planned);
  return file_->write_at(data_start_ + tensor.begin, bytes);
}

Expected<std::uint64_t> SafetensorsWriter::finish() {
  WEFT_CHECK(waiting_.empty(), "never put: " + waiting_.begin()->first);
  WEFT_TRY(file_->sync());
  return data_start_ + (tensors_.empty() ? 0 : tensors_.back().end);
}

Expected<Hash128> hash_of_file(Disk& disk, const fs::path& path, std::uint64_t bytes) {
  WEFT_TRY_ASSIGN(const auto file, disk.open(path));
  WEFT_TRY_ASSIGN(const std::uint64_t size, file->size());
  if (size != bytes)
    return fail(Code::Corrupt, path.string() + " has " + std::to_string(size) + " bytes, not the " +
                                   std::to_string(bytes) + " that were written");
  Hasher hasher;
  WEFT_TRY(read_pieces(*file, bytes, [&](auto piece) { hasher.add(piece); }));
  return hasher.digest();
}

}  // namespace weft::trainer::checkpoint
