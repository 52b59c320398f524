#include "trainer/gguf/header.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>

#include "base/check.h"
#include "trainer/gguf/layout.h"

namespace weft::trainer::gguf {
namespace {

template <class T>
void append(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i)
    out += static_cast<char>(static_cast<std::uint64_t>(value) >> 8 * i & 0xff);
}

void append_text(std::string& out, std::string_view text) {
  append<std::uint64_t>(out, text.size());
  out += text;
}

void append_number(std::string& out, ValueType type, std::uint64_t number) {
  for (std::size_t i = 0; i < value_bytes(type); ++i)
    out += static_cast<char>(number >> 8 * i & 0xff);
}

void append_value(std::string& out, const Value& value) {
  append(out, static_cast<std::uint32_t>(value.type));
  if (value.type == ValueType::String) return append_text(out, value.texts.at(0));
  if (value.type != ValueType::Array) return append_number(out, value.type, value.numbers.at(0));
  append(out, static_cast<std::uint32_t>(value.element));
  const bool texts = value.element == ValueType::String;
  append<std::uint64_t>(out, texts ? value.texts.size() : value.numbers.size());
  for (const std::string& text : value.texts) append_text(out, text);
  for (const std::uint64_t number : value.numbers) append_number(out, value.element, number);
}

std::int64_t sign_extended(ValueType type, std::uint64_t number) {
  const int unused = 64 - 8 * static_cast<int>(value_bytes(type));
  return static_cast<std::int64_t>(number << unused) >> unused;
}

std::string number_text(ValueType type, std::uint64_t number) {
  switch (type) {
    case ValueType::F32:
      return fmt::format("{}", std::bit_cast<float>(static_cast<std::uint32_t>(number)));
    case ValueType::F64:
      return fmt::format("{}", std::bit_cast<double>(number));
    case ValueType::Bool:
      return number != 0 ? "true" : "false";
    case ValueType::I8:
    case ValueType::I16:
    case ValueType::I32:
    case ValueType::I64:
      return std::to_string(sign_extended(type, number));
    default:
      return std::to_string(number);
  }
}

struct TypeRow {
  std::uint32_t type;
  std::string_view name;
  std::uint64_t elements, bytes;  // of one block
};
constexpr TypeRow kTypes[] = {
    {0, "F32", 1, 4},       {1, "F16", 1, 2},       {2, "Q4_0", 32, 18},    {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},    {7, "Q5_1", 32, 24},    {8, "Q8_0", 32, 34},    {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},  {11, "Q3_K", 256, 110}, {12, "Q4_K", 256, 144}, {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210}, {15, "Q8_K", 256, 292}, {24, "I8", 1, 1},       {25, "I16", 1, 2},
    {26, "I32", 1, 4},      {27, "I64", 1, 8},      {28, "F64", 1, 8},      {30, "BF16", 1, 2}};

const TypeRow* find_type(std::uint32_t type) {
  const auto* const row = std::ranges::find(kTypes, type, &TypeRow::type);
  return row == std::end(kTypes) ? nullptr : row;
}

}  // namespace

std::size_t value_bytes(ValueType type) {
  constexpr std::size_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return kBytes[static_cast<std::size_t>(type)];
}

Value Value::i32(std::int32_t value) {
  return {ValueType::I32, ValueType::U32, {static_cast<std::uint32_t>(value)}, {}};
}
Value Value::f32(float value) {
  return {ValueType::F32, ValueType::U32, {std::bit_cast<std::uint32_t>(value)}, {}};
}
Value Value::strings(std::vector<std::string> values) {
  return {ValueType::Array, ValueType::String, {}, std::move(values)};
}
Value Value::i32s(std::span<const std::int32_t> values) {
  Value out{ValueType::Array, ValueType::I32, {}, {}};
  for (const std::int32_t value : values) out.numbers.push_back(static_cast<std::uint32_t>(value));
  return out;
}

std::string to_string(const Value& value) {
  if (value.type == ValueType::String) return value.texts.at(0);
  if (value.type != ValueType::Array) return number_text(value.type, value.numbers.at(0));
  if (value.element == ValueType::String) return fmt::format("[{} texts]", value.texts.size());
  if (value.numbers.size() > 8) return fmt::format("[{} numbers]", value.numbers.size());
  std::string out;
  for (const std::uint64_t number : value.numbers)
    out += (out.empty() ? "" : ", ") + number_text(value.element, number);
  return "[" + out + "]";
}

std::string_view type_name(std::uint32_t type) {
  const TypeRow* const row = find_type(type);
  return row == nullptr ? std::string_view() : row->name;
}

std::optional<std::uint64_t> bytes_of(std::uint32_t type, std::uint64_t elements) {
  const TypeRow* const row = find_type(type);
  if (row == nullptr || elements % row->elements != 0) return std::nullopt;
  return elements / row->elements * row->bytes;
}

const Value* Header::find(std::string_view key) const {
  const auto found = std::ranges::find(keys, key, [](const auto& pair) { return pair.first; });
  return found == keys.end() ? nullptr : &found->second;
}

Expected<std::uint64_t> tensor_bytes(const TensorInfo& tensor) {
  constexpr std::uint64_t kElementsMax = std::uint64_t{1} << 56;
  if (tensor.dims.empty() || tensor.dims.size() > kDimsMax)
    return fail(Code::Corrupt,
                fmt::format("{} dims: 1 to {} are possible", tensor.dims.size(), kDimsMax));
  std::uint64_t elements = 1;
  for (const std::uint64_t length : tensor.dims) {
    if (length == 0 || length > kElementsMax / elements)
      return fail(Code::Corrupt, fmt::format("a dim of {}: empty, or too large", length));
    elements *= length;
  }
  if (type_name(tensor.type).empty())
    return fail(Code::Corrupt, fmt::format("number format {} is not known", tensor.type));
  // Rows are made of whole blocks.
  if (!bytes_of(tensor.type, tensor.dims[0]))
    return fail(Code::Corrupt, fmt::format("rows of {} elements are no whole blocks of {}",
                                           tensor.dims[0], type_name(tensor.type)));
  return *bytes_of(tensor.type, elements);
}

Expected<void> lay_out(Header& header) {
  std::uint64_t at = 0;
  std::set<std::string_view> names;
  for (TensorInfo& tensor : header.tensors) {
    const std::string what = "tensor '" + tensor.name + "'";
    if (tensor.name.empty() || tensor.name.size() > kNameBytesMax)
      return fail(Code::InvalidArgument,
                  fmt::format("{}: names have 1 to {} bytes", what, kNameBytesMax));
    if (!names.insert(tensor.name).second)
      return fail(Code::InvalidArgument, what + " is there twice");
    const auto bytes = tensor_bytes(tensor);
    if (!bytes) return fail(Code::InvalidArgument, what + ": " + bytes.error().message);
    tensor.offset = at;
    tensor.bytes = *bytes;
    at = aligned(at + *bytes, kAlignment);
  }
  return {};
}

std::string format_header(Header& header) {
  std::string out = "GGUF";
  append<std::uint32_t>(out, kVersion);
  append<std::uint64_t>(out, header.tensors.size());
  append<std::uint64_t>(out, header.keys.size());
  for (const auto& [key, value] : header.keys) {
    append_text(out, key);
    append_value(out, value);
  }
  for (const TensorInfo& tensor : header.tensors) {
    append_text(out, tensor.name);
    append<std::uint32_t>(out, static_cast<std::uint32_t>(tensor.dims.size()));
    for (const std::uint64_t length : tensor.dims) append(out, length);
    append(out, tensor.type);
    append(out, tensor.offset);
  }
  out.resize(aligned(out.size(), kAlignment), '\0');
  header.data_start = out.size();
  return out;
}

}  // namespace weft::trainer::gguf
