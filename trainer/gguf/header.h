// The header of a GGUF file: typed keys and a table of tensors. Reading trusts nothing.
//
// Source: github.com/ggml-org/ggml, docs/gguf.md (version 3).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/expected.h"
#include "trainer/checkpoint/disk.h"

namespace weft::trainer::gguf {

enum class ValueType : std::uint32_t {
  U8,
  I8,
  U16,
  I16,
  U32,
  I32,
  F32,
  Bool,
  String,
  Array,
  U64,
  I64,
  F64
};

/// One value of a key; arrays hold numbers or texts, never arrays.
struct Value {
  ValueType type = ValueType::U32;
  ValueType element = ValueType::U32;  // of an array
  std::vector<std::uint64_t> numbers;  // one, or an array's; as stored, in the low bytes
  std::vector<std::string> texts;

  static Value u16(std::uint16_t value) { return {ValueType::U16, ValueType::U32, {value}, {}}; }
  static Value u32(std::uint32_t value) { return {ValueType::U32, ValueType::U32, {value}, {}}; }
  static Value i32(std::int32_t value);
  static Value f32(float value);
  static Value boolean(bool value) {
    return {ValueType::Bool, ValueType::U32, {value ? 1U : 0U}, {}};
  }
  static Value text(std::string value) {
    return {ValueType::String, ValueType::U32, {}, {std::move(value)}};
  }
  static Value strings(std::vector<std::string> values);
  static Value i32s(std::span<const std::int32_t> values);
  friend bool operator==(const Value&, const Value&) = default;
};

/// For people: "61", "0.5", "true", a text, "[129280 texts]".
std::string to_string(const Value& value);

/// The number formats that are known by size; those that are written here have a name of their own.
enum class Type : std::uint32_t { F32 = 0, F16 = 1, Q8_0 = 8, BF16 = 30 };
/// "Q8_0"; "" for one that is not known.
std::string_view type_name(std::uint32_t type);
/// Bytes of so many elements in whole blocks; nothing for an unknown type or a broken block.
std::optional<std::uint64_t> bytes_of(std::uint32_t type, std::uint64_t elements);

struct TensorInfo {
  std::string name;
  std::vector<std::uint64_t> dims;  // the first one varies fastest
  std::uint32_t type = 0;
  std::uint64_t offset = 0;  // from the start of the data
  std::uint64_t bytes = 0;   // follows from dims and type; not stored
  friend bool operator==(const TensorInfo&, const TensorInfo&) = default;
};

struct Header {
  std::vector<std::pair<std::string, Value>> keys;
  std::vector<TensorInfo> tensors;
  std::uint64_t data_start = 0;  // filled by format_header and parse_header
  const Value* find(std::string_view key) const;
};

inline constexpr std::uint64_t kAlignment = 32;  // what we write
inline constexpr std::uint64_t kHeaderBytesMax = std::uint64_t{64} << 20;
inline constexpr std::size_t kNameBytesMax = 63;  // of a tensor
inline constexpr std::size_t kDimsMax = 4;

/// Places the tensors one behind the other, each at a multiple of kAlignment: fills offset and
/// bytes. Errors: InvalidArgument for a name or shape that a file cannot have.
Expected<void> lay_out(Header& header);

/// The file's bytes up to data_start, which is set; `header` has been laid out.
std::string format_header(Header& header);

/// `bytes`: the beginning of a file of `file_bytes`. Errors: Corrupt, naming the key or tensor:
/// another magic or version, counts and lengths beyond the file, doubled names, sizes that
/// overflow, tensors that overlap, leave holes or end behind the file.
Expected<Header> parse_header(std::span<const std::byte> bytes, std::uint64_t file_bytes);

/// Errors: those of parse_header and of the disk; each names the file.
Expected<Header> read_header(const std::filesystem::path& path,
                             checkpoint::Disk& disk = checkpoint::Disk::real());

}  // namespace weft::trainer::gguf
