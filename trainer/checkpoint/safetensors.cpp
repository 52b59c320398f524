#include "trainer/checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <set>

#include "base/check.h"
#include "trainer/checkpoint/safetensors_writer.h"
#include "trainer/checkpoint/sequential_writer.h"
#include "trainer/checkpoint/strict_json.h"

namespace weft::trainer::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are written as they lie");

Expected<void> check_writable(const std::vector<TensorData>& tensors) {
  std::set<std::string_view> names;
  for (const TensorData& t : tensors) {
    const std::string what = "tensor '" + t.name + "'";
    if (!names.insert(t.name).second) return fail(Code::InvalidArgument, what + " is there twice");
    if (t.name.empty() || t.name == "__metadata__")
      return fail(Code::InvalidArgument, what + ": not a name that a tensor may have");
    WEFT_TRY(check_utf8(t.name, what));
    const auto elements = num_elements(t.shape);
    if (!elements) return fail(Code::InvalidArgument, what + ": " + elements.error().message);
    if (*elements > std::uint64_t{1} << 59 || *elements * bytes_of(t.dtype) != t.bytes.size())
      return fail(Code::InvalidArgument, what + ": " + std::to_string(t.bytes.size()) +
                                             " bytes do not fit the shape " + to_string(t.shape));
    if (!t.offset.empty() && t.offset.size() != t.shape.size())
      return fail(Code::InvalidArgument, what + ": offset and shape differ in dims");
  }
  return {};
}

/// Larger elements first, then by name: no tensor starts at an address its type does not like.
void sort_as_reference(std::vector<TensorData>& tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorData& a, const TensorData& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });
}

std::map<std::string, std::string> dcp_metadata(const std::vector<TensorData>& tensors) {
  nlohmann::json sharding = nlohmann::json::object();
  for (const TensorData& t : tensors)
    sharding[t.name]["saved_offsets"] = t.offset.empty() ? Shape(t.shape.size(), 0) : t.offset;
  return {{"format", "pt"}, {"DCP_VERSION", "1.0"}, {"DCP_SHARDING_INFO", sharding.dump()}};
}

}  // namespace

std::map<std::string, std::string> whole_tensor_metadata(std::span<const TensorPlan> tensors) {
  nlohmann::json sharding = nlohmann::json::object();
  for (const TensorPlan& t : tensors) sharding[t.name]["saved_offsets"] = Shape(t.shape.size(), 0);
  return {{"format", "pt"}, {"DCP_VERSION", "1.0"}, {"DCP_SHARDING_INFO", sharding.dump()}};
}

Expected<WrittenFile> write_safetensors(Disk& disk, const fs::path& path,
                                        std::vector<TensorData> tensors) {
  if (auto good = check_writable(tensors); !good) return fail_in(path.string(), good.error());
  sort_as_reference(tensors);
  std::vector<TensorInfo> infos;
  WrittenFile written;
  std::uint64_t at = 0;
  for (const TensorData& t : tensors) {
    infos.push_back({t.name, t.dtype, t.shape, at, at + t.bytes.size()});
    at += t.bytes.size();
  }
  WEFT_TRY_ASSIGN(const auto file, disk.create(path));
  const std::string header = format_header(infos, dcp_metadata(tensors));
  SequentialWriter out(*file, header.size() + at);
  WEFT_TRY(out.add(std::as_bytes(std::span(header))));
  for (const TensorData& t : tensors) {
    WEFT_TRY_ASSIGN(const Hash128 hash, out.add(t.bytes));
    written.tensors.push_back({t.name, t.bytes.size(), hash});
  }
  WEFT_TRY(out.finish());
  written.bytes = out.size();
  written.hash = out.hash();
  return written;
}

Expected<SafetensorsFile> SafetensorsFile::open(Disk& disk, const fs::path& path) {
  SafetensorsFile result;
  WEFT_TRY_ASSIGN(result.file_, disk.open(path));
  WEFT_TRY_ASSIGN(result.bytes_, result.file_->size());
  const auto corrupt = [&](const std::string& why) {
    return fail(Code::Corrupt, path.string() + ": " + why);
  };
  if (result.bytes_ < 8) return corrupt("too short for a safetensors file (truncated?)");
  std::uint64_t header_bytes = 0;
  WEFT_TRY(result.file_->read_at(0, std::as_writable_bytes(std::span(&header_bytes, 1))));
  if (header_bytes > kHeaderBytesMax)
    return corrupt("the header claims " + std::to_string(header_bytes) + " bytes, more than the " +
                   std::to_string(kHeaderBytesMax) + " allowed");
  if (header_bytes > result.bytes_ - 8)
    return corrupt("the header claims " + std::to_string(header_bytes) + " bytes, the file has " +
                   std::to_string(result.bytes_) + " (truncated?)");
  std::string text(header_bytes, '\0');
  WEFT_TRY(result.file_->read_at(8, std::as_writable_bytes(std::span(text))));
  auto header = parse_header(text, result.bytes_ - 8 - header_bytes);
  if (!header) return fail_in(path.string(), header.error());
  result.header_ = std::move(*header);
  for (std::size_t i = 0; i < result.header_.tensors.size(); ++i)
    result.index_[result.header_.tensors[i].name] = i;
  return result;
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &header_.tensors[it->second];
}

Expected<Hash128> SafetensorsFile::read(const TensorInfo& tensor, std::span<std::byte> out) {
  if (out.size() != tensor.end - tensor.begin)
    return fail(Code::InvalidArgument, "tensor '" + tensor.name + "' has " +
                                           std::to_string(tensor.end - tensor.begin) +
                                           " bytes, asked for " + std::to_string(out.size()));
  constexpr std::size_t kCacheBytes = std::size_t{512} << 10;
  Hasher hasher;
  for (std::size_t at = 0; at < out.size(); at += kCacheBytes) {
    const auto part = out.subspan(at, std::min(kCacheBytes, out.size() - at));
    WEFT_TRY(file_->read_at(header_.data_start + tensor.begin + at, part));
    hasher.add(part);
  }
  return hasher.digest();
}

Expected<void> SafetensorsFile::read_at(std::uint64_t offset, std::span<std::byte> out) {
  return file_->read_at(offset, out);
}

}  // namespace weft::trainer::checkpoint
