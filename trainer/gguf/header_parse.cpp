#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "trainer/gguf/header.h"
#include "trainer/gguf/layout.h"

namespace weft::trainer::gguf {
namespace {

constexpr std::size_t kKeyBytesMax = 65535;  // as the format's description says

/// Walks through bytes that nobody vouches for.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::uint64_t left() const { return bytes_.size() - at_; }
  std::uint64_t at() const { return at_; }

  Expected<std::uint64_t> number(std::size_t bytes) {
    if (bytes > left()) return fail(Code::Corrupt, "the header ends too early (truncated?)");
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i)
      value |= std::to_integer<std::uint64_t>(bytes_[at_ + i]) << 8 * i;
    at_ += bytes;
    return value;
  }
  Expected<std::string> text(std::uint64_t bytes_max) {
    WEFT_TRY_ASSIGN(const std::uint64_t size, number(8));
    if (size > bytes_max || size > left())
      return fail(Code::Corrupt, fmt::format("a text of {} bytes, {} are left", size, left()));
    std::string out(reinterpret_cast<const char*>(bytes_.data()) + at_, size);
    at_ += size;
    return out;
  }
  /// A count of things of at least `bytes_each`: no count makes us take memory that the file does
  /// not account for.
  Expected<std::uint64_t> count(std::uint64_t bytes_each, const char* what) {
    WEFT_TRY_ASSIGN(const std::uint64_t value, number(8));
    if (value > left() / bytes_each)
      return fail(Code::Corrupt, fmt::format("{} {} do not fit into the file", value, what));
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
};

Expected<ValueType> value_type(Cursor& in) {
  WEFT_TRY_ASSIGN(const std::uint64_t type, in.number(4));
  if (type > static_cast<std::uint64_t>(ValueType::F64))
    return fail(Code::Corrupt, fmt::format("a value of unknown type {}", type));
  return static_cast<ValueType>(type);
}

Expected<void> array(Cursor& in, Value& value) {
  WEFT_TRY_ASSIGN(value.element, value_type(in));
  if (value.element == ValueType::Array)
    return fail(Code::Corrupt, "arrays of arrays are not read");
  const bool texts = value.element == ValueType::String;
  WEFT_TRY_ASSIGN(const std::uint64_t count,
                  in.count(texts ? 8 : value_bytes(value.element), "elements of an array"));
  for (std::uint64_t i = 0; i < count; ++i) {
    if (texts) {
      WEFT_TRY_ASSIGN(std::string text, in.text(in.left()));
      value.texts.push_back(std::move(text));
    } else {
      WEFT_TRY_ASSIGN(const std::uint64_t number, in.number(value_bytes(value.element)));
      value.numbers.push_back(number);
    }
  }
  return {};
}

Expected<Value> value(Cursor& in) {
  Value out;
  WEFT_TRY_ASSIGN(out.type, value_type(in));
  if (out.type == ValueType::Array) {
    WEFT_TRY(array(in, out));
  } else if (out.type == ValueType::String) {
    WEFT_TRY_ASSIGN(std::string text, in.text(in.left()));
    out.texts.push_back(std::move(text));
  } else {
    WEFT_TRY_ASSIGN(const std::uint64_t number, in.number(value_bytes(out.type)));
    out.numbers.push_back(number);
  }
  return out;
}

Expected<TensorInfo> tensor(Cursor& in) {
  TensorInfo out;
  WEFT_TRY_ASSIGN(out.name, in.text(kNameBytesMax));
  const auto rest = [&]() -> Expected<void> {
    WEFT_TRY_ASSIGN(const std::uint64_t dims, in.number(4));
    if (dims > kDimsMax) return fail(Code::Corrupt, fmt::format("{} dims", dims));
    for (std::uint64_t i = 0; i < dims; ++i) {
      WEFT_TRY_ASSIGN(const std::uint64_t length, in.number(8));
      out.dims.push_back(length);
    }
    WEFT_TRY_ASSIGN(const std::uint64_t type, in.number(4));
    out.type = static_cast<std::uint32_t>(type);
    WEFT_TRY_ASSIGN(out.offset, in.number(8));
    WEFT_TRY_ASSIGN(out.bytes, tensor_bytes(out));
    return {};
  };
  if (const auto good = rest(); !good) return fail_in("tensor '" + out.name + "'", good.error());
  return out;
}

Expected<std::uint64_t> alignment_of(const Header& header) {
  const Value* const given = header.find("general.alignment");
  if (given == nullptr) return kAlignment;
  const std::uint64_t value = given->type == ValueType::U32 ? given->numbers[0] : 0;
  if (value == 0 || value > 1 << 20 || (value & (value - 1)) != 0)
    return fail(Code::Corrupt, "general.alignment is " + to_string(*given) +
                                   ": expected a power of two up to 2^20, as U32");
  return value;
}

/// Each tensor begins where the one before ends, aligned, and the last one ends inside the file.
Expected<void> check_places(const Header& header, std::uint64_t alignment,
                            std::uint64_t file_bytes) {
  std::uint64_t at = 0;
  for (const TensorInfo& t : header.tensors) {
    if (t.offset != at)
      return fail(Code::Corrupt,
                  fmt::format("tensor '{}' begins at byte {} of the data, not at {}: holes and "
                              "overlaps are not allowed",
                              t.name, t.offset, at));
    if (header.data_start > file_bytes || t.bytes > file_bytes - header.data_start ||
        at > file_bytes - header.data_start - t.bytes)
      return fail(Code::Corrupt,
                  fmt::format("tensor '{}' ends behind the file (truncated?)", t.name));
    at = aligned(at + t.bytes, alignment);
  }
  return {};
}

}  // namespace

Expected<Header> parse_header(std::span<const std::byte> bytes, std::uint64_t file_bytes) {
  Cursor in(bytes);
  if (bytes.size() < 4 || std::memcmp(bytes.data(), "GGUF", 4) != 0)
    return fail(Code::Corrupt, "it does not begin with GGUF");
  (void)in.number(4);
  WEFT_TRY_ASSIGN(const std::uint64_t version, in.number(4));
  if (version != 2 && version != kVersion)
    return fail(Code::Corrupt, fmt::format("version {}: 2 and 3 are read, little endian", version));
  WEFT_TRY_ASSIGN(const std::uint64_t tensors, in.count(24, "tensors"));
  WEFT_TRY_ASSIGN(const std::uint64_t keys, in.count(13, "keys"));
  Header header;
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < keys; ++i) {
    WEFT_TRY_ASSIGN(std::string key, in.text(kKeyBytesMax));
    if (!names.insert(key).second) return fail(Code::Corrupt, "key '" + key + "' is there twice");
    auto read = value(in);
    if (!read) return fail_in("key '" + key + "'", read.error());
    header.keys.emplace_back(std::move(key), std::move(*read));
  }
  names.clear();
  for (std::uint64_t i = 0; i < tensors; ++i) {
    WEFT_TRY_ASSIGN(TensorInfo next, tensor(in));
    if (!names.insert(next.name).second)
      return fail(Code::Corrupt, "tensor '" + next.name + "' is there twice");
    header.tensors.push_back(std::move(next));
  }
  WEFT_TRY_ASSIGN(const std::uint64_t alignment, alignment_of(header));
  header.data_start = aligned(in.at(), alignment);
  WEFT_TRY(check_places(header, alignment, file_bytes));
  return header;
}

Expected<Header> read_header(const std::filesystem::path& path, checkpoint::Disk& disk) {
  WEFT_TRY_ASSIGN(const auto file, disk.open(path));
  WEFT_TRY_ASSIGN(const std::uint64_t file_bytes, file->size());
  std::vector<std::byte> bytes(std::min(file_bytes, kHeaderBytesMax));
  WEFT_TRY(file->read_at(0, bytes));
  auto header = parse_header(bytes, file_bytes);
  if (!header) return fail_in(path.string(), header.error());
  return header;
}

}  // namespace weft::trainer::gguf
