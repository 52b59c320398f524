#include "trainer/checkpoint/shard.h"

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "trainer/checkpoint/manifest_json.h"
#include "trainer/checkpoint/strict_json.h"

namespace weft::trainer::checkpoint {
namespace {

constexpr const char* kReportSchema = "weft.shard_report/v1";
constexpr std::uint64_t kWorldMax = 1'000'000;

Expected<void> check_ref(const TensorRef& ref) {
  const auto bad = [&](const std::string& why) {
    return fail(Code::InvalidArgument, ref.item + " tensor '" + ref.name + "': " + why);
  };
  if (!is_item_name(ref.item)) return bad("the item must be a folder name such as model or optim");
  const auto elements = num_elements(ref.shape);
  if (!elements) return bad(elements.error().message);
  if (*elements > 0 && !ref.data) return bad("no data");
  if (ref.offset.empty() && ref.global_shape.empty()) return {};
  if (ref.offset.size() != ref.shape.size() || ref.global_shape.size() != ref.shape.size())
    return bad("offset, shape and global shape must have the same dims");
  for (std::size_t d = 0; d < ref.shape.size(); ++d)
    if (ref.offset[d] < 0 || ref.shape[d] > ref.global_shape[d] - ref.offset[d])
      return bad("offset " + to_string(ref.offset) + " and shape " + to_string(ref.shape) +
                 " leave the global shape " + to_string(ref.global_shape));
  return {};
}

TensorData to_data(const TensorRef& ref) {
  const std::size_t elements = *num_elements(ref.shape);
  const auto* const bytes = static_cast<const std::byte*>(ref.data);
  return {ref.name, ref.dtype, ref.shape, std::span(bytes, elements * bytes_of(ref.dtype)),
          ref.offset};
}

TensorEntry to_entry(const TensorRef& ref, const std::string& file, const WrittenTensor& written) {
  const bool whole = ref.offset.empty();
  TensorEntry entry{ref.item, ref.name, whole ? ref.shape : ref.global_shape, ref.dtype, {}};
  entry.pieces.push_back({file,
                          {whole ? Shape(ref.shape.size(), 0) : ref.offset, ref.shape},
                          written.bytes,
                          written.hash});
  return entry;
}

}  // namespace

std::string shard_file(std::string_view item, int rank) {
  char number[16];
  std::snprintf(number, sizeof number, "%05d", rank + 1);
  return std::string(item) + "/shard-" + number + "-model-00001-of-00001.safetensors";
}

Expected<ShardReport> write_shard(const fs::path& partial_dir, int rank, int world,
                                  std::span<const TensorRef> tensors, Disk& disk) {
  WEFT_CHECK(rank >= 0 && rank < world, "rank of a shard");
  ShardReport report;
  report.rank = rank;
  report.world = world;
  std::map<std::string, std::map<std::string, const TensorRef*>> items;
  for (const TensorRef& ref : tensors) {
    WEFT_TRY(check_ref(ref));
    if (!items[ref.item].emplace(ref.name, &ref).second)
      return fail(Code::InvalidArgument, ref.item + " tensor '" + ref.name + "': given twice");
  }
  WEFT_TRY(disk.make_directories(partial_dir));
  for (const auto& [item, refs] : items) {
    WEFT_TRY(disk.make_directories(partial_dir / item));
    std::vector<TensorData> data;
    for (const auto& [name, ref] : refs) data.push_back(to_data(*ref));
    const std::string file = shard_file(item, rank);
    WEFT_TRY_ASSIGN(const WrittenFile written,
                    write_safetensors(disk, partial_dir / file, std::move(data)));
    for (const WrittenTensor& t : written.tensors)
      report.tensors.push_back(to_entry(*refs.at(t.name), file, t));
    report.files.push_back({file, written.bytes, written.hash});
  }
  return report;
}

std::string ShardReport::to_json() const {
  std::string text = std::string("{\"schema\":\"") + kReportSchema +
                     "\",\"rank\":" + std::to_string(rank) + ",\"world\":" + std::to_string(world);
  const auto add_list = [&](const char* key, const auto& list) {
    text.append(",\"").append(key).append("\":[");
    const char* separator = "";
    for (const auto& entry : list) {
      text += separator;
      const auto added = append_json(text, entry);
      WEFT_CHECK(added.has_value(), "write_shard lets only UTF-8 names pass");
      separator = ",";
    }
    text += ']';
  };
  add_list("files", files);
  add_list("tensors", tensors);
  return text + '}';
}

Expected<ShardReport> ShardReport::from_json(std::string_view text) {
  const auto parse = [&]() -> Expected<ShardReport> {
    ShardReport report;
    WEFT_TRY_ASSIGN(const nlohmann::json root, parse_entries(text, report.tensors, report.files));
    WEFT_TRY_ASSIGN(const std::string schema, get_string(root, "schema"));
    if (schema != kReportSchema) return fail(Code::Corrupt, "unknown schema '" + schema + "'");
    WEFT_TRY_ASSIGN(const std::uint64_t rank, get_unsigned(root, "rank"));
    WEFT_TRY_ASSIGN(const std::uint64_t world, get_unsigned(root, "world"));
    if (world > kWorldMax || rank >= world)
      return fail(Code::Corrupt, "rank " + std::to_string(rank) + " of " + std::to_string(world));
    report.rank = static_cast<int>(rank);
    report.world = static_cast<int>(world);
    return report;
  };
  auto report = parse();
  if (!report) return fail_in("shard report", report.error());
  return report;
}

}  // namespace weft::trainer::checkpoint
