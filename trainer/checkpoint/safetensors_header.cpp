#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "trainer/checkpoint/safetensors.h"
#include "trainer/checkpoint/strict_json.h"

namespace weft::trainer::checkpoint {
namespace {

using nlohmann::json;

constexpr std::uint64_t kDataAlignment = 4096;

struct DtypeRow {
  Dtype dtype;
  std::string_view name;
  std::size_t bytes;
};
constexpr std::array<DtypeRow, 15> kDtypes = {{{Dtype::Bool, "BOOL", 1},
                                               {Dtype::U8, "U8", 1},
                                               {Dtype::I8, "I8", 1},
                                               {Dtype::F8_E5M2, "F8_E5M2", 1},
                                               {Dtype::F8_E4M3, "F8_E4M3", 1},
                                               {Dtype::I16, "I16", 2},
                                               {Dtype::U16, "U16", 2},
                                               {Dtype::F16, "F16", 2},
                                               {Dtype::BF16, "BF16", 2},
                                               {Dtype::I32, "I32", 4},
                                               {Dtype::U32, "U32", 4},
                                               {Dtype::F32, "F32", 4},
                                               {Dtype::F64, "F64", 8},
                                               {Dtype::I64, "I64", 8},
                                               {Dtype::U64, "U64", 8}}};

Expected<TensorInfo> parse_tensor(const std::string& name, const json& entry) {
  if (!entry.is_object() || entry.size() != 3)
    return fail(Code::Corrupt, "must have exactly dtype, shape and data_offsets");
  TensorInfo tensor;
  tensor.name = name;
  WEFT_TRY_ASSIGN(const std::string dtype, get_string(entry, "dtype"));
  WEFT_TRY_ASSIGN(tensor.dtype, parse_dtype(dtype));
  WEFT_TRY_ASSIGN(tensor.shape, get_shape(entry, "shape"));
  WEFT_TRY_ASSIGN(const Shape offsets, get_shape(entry, "data_offsets"));
  if (offsets.size() != 2 || offsets[0] > offsets[1])
    return fail(Code::Corrupt, "data_offsets must be [begin, end] with begin <= end");
  tensor.begin = static_cast<std::uint64_t>(offsets[0]);
  tensor.end = static_cast<std::uint64_t>(offsets[1]);
  WEFT_TRY_ASSIGN(const std::uint64_t elements, num_elements(tensor.shape));
  const std::uint64_t have = tensor.end - tensor.begin, size = bytes_of(tensor.dtype);
  if (have % size != 0 || have / size != elements)
    return fail(Code::Corrupt, dtype + to_string(tensor.shape) + " does not fill the " +
                                   std::to_string(have) + " bytes of its data_offsets");
  return tensor;
}

Expected<void> parse_metadata(const json& entry, std::map<std::string, std::string>& metadata) {
  if (!entry.is_object()) return fail(Code::Corrupt, "__metadata__ must be an object");
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string())
      return fail(Code::Corrupt, "__metadata__: '" + key + "' must be a string");
    metadata[key] = value.get<std::string>();
  }
  return {};
}

/// `tensors` by begin: each starts where the one before ends, the last at the end of the data.
Expected<void> check_no_holes(const std::vector<TensorInfo>& tensors, std::uint64_t data_bytes) {
  std::uint64_t at = 0;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.begin != at)
      return fail(Code::Corrupt, "tensor '" + tensor.name +
                                     "': " + (tensor.begin > at ? "a hole" : "an overlap") +
                                     " before it: starts at byte " + std::to_string(tensor.begin) +
                                     " of the data, not " + std::to_string(at));
    at = tensor.end;
    if (at > data_bytes)
      return fail(Code::Corrupt, "tensor '" + tensor.name + "': ends at byte " +
                                     std::to_string(at) + " of the data, but the file holds " +
                                     std::to_string(data_bytes) + " (truncated?)");
  }
  if (at != data_bytes)
    return fail(Code::Corrupt,
                "the last " + std::to_string(data_bytes - at) + " bytes belong to no tensor");
  return {};
}

}  // namespace

std::string_view to_string(Dtype dtype) { return kDtypes[static_cast<std::size_t>(dtype)].name; }

std::size_t bytes_of(Dtype dtype) { return kDtypes[static_cast<std::size_t>(dtype)].bytes; }

Expected<Dtype> parse_dtype(std::string_view name) {
  std::string known;
  for (const DtypeRow& row : kDtypes) {
    if (row.name == name) return row.dtype;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  return fail(Code::Corrupt,
              "unknown dtype '" + std::string(name.substr(0, 40)) + "' (known: " + known + ")");
}

Expected<Header> parse_header(std::string_view text, std::uint64_t data_bytes) {
  if (text.empty() || text.front() != '{')
    return fail(Code::Corrupt, "the header does not begin with '{'");
  WEFT_TRY_ASSIGN(const json root, parse_json(text, {.depth = 3, .array = kDimsMax}));
  Header header;
  header.data_start = 8 + text.size();
  for (const auto& [name, entry] : root.items()) {
    if (name == "__metadata__") {
      WEFT_TRY(parse_metadata(entry, header.metadata));
      continue;
    }
    auto tensor = parse_tensor(name, entry);
    if (!tensor) return fail_in("tensor '" + name + "'", tensor.error());
    header.tensors.push_back(std::move(*tensor));
  }
  // Empty tensors share their begin with a neighbour: by end, they come first.
  std::sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  WEFT_TRY(check_no_holes(header.tensors, data_bytes));
  return header;
}

std::string format_header(std::span<const TensorInfo> tensors,
                          const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json root = nlohmann::ordered_json::object();
  root["__metadata__"] = metadata;
  // Written by hand behind the metadata: a key look-up per insertion in ordered_json is linear.
  std::string text = root.dump();
  text.pop_back();
  for (const TensorInfo& tensor : tensors) {
    const nlohmann::ordered_json entry = {{"dtype", to_string(tensor.dtype)},
                                          {"shape", tensor.shape},
                                          {"data_offsets", {tensor.begin, tensor.end}}};
    text += "," + json(tensor.name).dump() + ":" + entry.dump();
  }
  text += "}";
  const std::uint64_t whole =
      (8 + text.size() + kDataAlignment - 1) / kDataAlignment * kDataAlignment;
  text.resize(whole - 8, ' ');
  std::string out;
  for (std::uint64_t n = text.size(), i = 0; i < 8; ++i)
    out += static_cast<char>(n >> 8 * i & 0xff);
  return out + text;
}

}  // namespace weft::trainer::checkpoint
