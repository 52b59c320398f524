#include "trainer/checkpoint/manifest_json.h"

#include <set>

#include "trainer/checkpoint/strict_json.h"

namespace weft::trainer::checkpoint {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

Expected<Hash128> get_hash(const json& object) {
  WEFT_TRY_ASSIGN(const std::string text, get_string(object, "xxh128"));
  return parse_hash(text);
}

Expected<Piece> piece_from_json(const json& entry) {
  Piece piece;
  WEFT_TRY_ASSIGN(piece.file, get_string(entry, "file"));
  WEFT_TRY_ASSIGN(piece.box.offset, get_shape(entry, "offset"));
  WEFT_TRY_ASSIGN(piece.box.shape, get_shape(entry, "shape"));
  WEFT_TRY_ASSIGN(piece.bytes, get_unsigned(entry, "bytes"));
  WEFT_TRY_ASSIGN(piece.hash, get_hash(entry));
  return piece;
}

Expected<TensorEntry> tensor_from_json(const json& entry) {
  TensorEntry tensor;
  WEFT_TRY_ASSIGN(tensor.item, get_string(entry, "item"));
  WEFT_TRY_ASSIGN(tensor.name, get_string(entry, "name"));
  const auto rest = [&]() -> Expected<void> {
    WEFT_TRY_ASSIGN(tensor.shape, get_shape(entry, "shape"));
    WEFT_TRY_ASSIGN(const std::string dtype, get_string(entry, "dtype"));
    WEFT_TRY_ASSIGN(tensor.dtype, parse_dtype(dtype));
    WEFT_TRY_ASSIGN(const json* const pieces, get_array(entry, "pieces"));
    for (const json& piece : *pieces) {
      WEFT_TRY_ASSIGN(Piece read, piece_from_json(piece));
      tensor.pieces.push_back(std::move(read));
    }
    return {};
  };
  if (auto good = rest(); !good)
    return fail_in(tensor.item + " tensor '" + tensor.name + "'", good.error());
  WEFT_TRY(check_tensor(tensor));
  return tensor;
}

Expected<FileEntry> file_from_json(const json& entry) {
  FileEntry file;
  WEFT_TRY_ASSIGN(file.path, get_string(entry, "path"));
  if (!is_plain_path(file.path))
    return fail(Code::Corrupt, "file '" + file.path + "': not a plain path inside a checkpoint");
  const auto rest = [&]() -> Expected<void> {
    WEFT_TRY_ASSIGN(file.bytes, get_unsigned(entry, "bytes"));
    if (file.bytes > std::uint64_t{1} << 62)
      return fail(Code::Corrupt, "its size is not believable");
    WEFT_TRY_ASSIGN(file.hash, get_hash(entry));
    return {};
  };
  if (auto good = rest(); !good) return fail_in("file '" + file.path + "'", good.error());
  return file;
}

void append_shape(std::string& out, const Shape& shape) {
  char separator = '[';
  for (const std::int64_t size : shape) {
    out += separator;
    out += std::to_string(size);
    separator = ',';
  }
  out += shape.empty() ? "[]" : "]";
}

}  // namespace

Expected<void> check_tensor(const TensorEntry& tensor) {
  const std::string what = tensor.item + " tensor '" + tensor.name + "'";
  if (!is_item_name(tensor.item))
    return fail(Code::Corrupt, what + ": the item must be a folder name such as model or optim");
  if (tensor.name.empty() || tensor.name == "__metadata__")
    return fail(Code::Corrupt, what + ": not a name that a tensor may have");
  if (auto good = num_elements(tensor.shape); !good) return fail_in(what, good.error());
  std::set<std::string_view> files;
  for (const Piece& piece : tensor.pieces) {
    const auto elements = num_elements(piece.box.shape);
    if (!elements) return fail_in(what, elements.error());
    const std::uint64_t size = bytes_of(tensor.dtype);
    if (piece.bytes % size != 0 || piece.bytes / size != *elements)
      return fail(Code::Corrupt, what + ": a piece of " + std::to_string(piece.bytes) +
                                     " bytes does not fit its shape " + to_string(piece.box.shape));
    if (!is_plain_path(piece.file) || piece.file.rfind(tensor.item + "/", 0) != 0 ||
        !piece.file.ends_with(kShardSuffix))
      return fail(Code::Corrupt,
                  what + ": the file '" + piece.file + "' is not a shard in " + tensor.item + "/");
    if (!files.insert(piece.file).second)  // a safetensors file holds one tensor of a name
      return fail(Code::Corrupt, what + ": two pieces in one file, '" + piece.file + "'");
  }
  return {};
}

Expected<void> append_json(std::string& out, const TensorEntry& tensor) {
  out += "{\"item\":";
  WEFT_TRY(append_json_string(out, tensor.item));
  out += ",\"name\":";
  WEFT_TRY(append_json_string(out, tensor.name));
  out += ",\"shape\":";
  append_shape(out, tensor.shape);
  out.append(",\"dtype\":\"").append(to_string(tensor.dtype)).append("\",\"pieces\":[");
  const char* separator = "";
  for (const Piece& piece : tensor.pieces) {
    out.append(separator).append("{\"file\":");
    WEFT_TRY(append_json_string(out, piece.file));
    out += ",\"offset\":";
    append_shape(out, piece.box.offset);
    out += ",\"shape\":";
    append_shape(out, piece.box.shape);
    out.append(",\"bytes\":").append(std::to_string(piece.bytes));
    out.append(",\"xxh128\":\"").append(to_hex(piece.hash)).append("\"}");
    separator = ",";
  }
  out += "]}";
  return {};
}

Expected<void> append_json(std::string& out, const FileEntry& file) {
  out += "{\"path\":";
  WEFT_TRY(append_json_string(out, file.path));
  out.append(",\"bytes\":").append(std::to_string(file.bytes));
  out.append(",\"xxh128\":\"").append(to_hex(file.hash)).append("\"}");
  return {};
}

Expected<json> parse_entries(std::string_view text, std::vector<TensorEntry>& tensors,
                             std::vector<FileEntry>& files) {
  WEFT_TRY_ASSIGN(json root,
                  parse_json_lists(text, [&](const std::string& list, const json& element) {
                    return [&]() -> Expected<void> {
                      if (list == "tensors") {
                        WEFT_TRY_ASSIGN(TensorEntry tensor, tensor_from_json(element));
                        tensors.push_back(std::move(tensor));
                      } else if (list == "files") {
                        WEFT_TRY_ASSIGN(FileEntry file, file_from_json(element));
                        files.push_back(std::move(file));
                      }
                      return {};
                    }();
                  }));
  for (const char* const list : {"files", "tensors"}) WEFT_TRY(get_array(root, list));
  return root;
}

Expected<std::string> dump_json(const ordered_json& value, int indent) {
  try {
    return value.dump(indent);
  } catch (const json::exception& exception) {
    return fail(Code::InvalidArgument,
                std::string("text that JSON cannot hold: ") + exception.what());
  }
}

}  // namespace weft::trainer::checkpoint
