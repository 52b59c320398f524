#include "trainer/checkpoint/reader.h"

#include <type_traits>

#include "base/text.h"

namespace weft::trainer::checkpoint {

Expected<Reader> Reader::open(const fs::path& directory, Mode mode, Disk& disk) {
  WEFT_TRY_ASSIGN(Examined examined, examine(directory, mode, disk));
  if (!examined.report.ok())
    return fail(Code::Corrupt, directory.string() + ": " + examined.report.summary() +
                                   " (resume from an older checkpoint)");
  return Reader(directory, std::move(*examined.manifest), disk);
}

std::vector<std::string> Reader::names(std::string_view item) const {
  std::vector<std::string> names;
  for (const TensorEntry& t : manifest_.tensors)
    if (t.item == item) names.push_back(t.name);
  return names;
}

bool Reader::has(std::string_view item, std::string_view name) const {
  return manifest_.find(item, name) != nullptr;
}

Expected<const TensorEntry*> Reader::find(std::string_view item, std::string_view name) const {
  if (const TensorEntry* const tensor = manifest_.find(item, name)) return tensor;
  const std::string near = closest(name, names(item));
  return fail(Code::NotFound, directory_.string() + " has no " + std::string(item) + " tensor '" +
                                  std::string(name) + "'" +
                                  (near.empty() ? "" : " (the nearest name is '" + near + "')") +
                                  "; was it written by a model of another shape?");
}

Expected<Shape> Reader::shape(std::string_view item, std::string_view name) const {
  WEFT_TRY_ASSIGN(const TensorEntry* const tensor, find(item, name));
  return tensor->shape;
}

Expected<SafetensorsFile*> Reader::file(const std::string& path) {
  const auto it = files_.find(path);
  if (it != files_.end()) return &it->second;
  WEFT_TRY_ASSIGN(SafetensorsFile opened, SafetensorsFile::open(*disk_, directory_ / path));
  return &files_.emplace(path, std::move(opened)).first->second;
}

Expected<void> Reader::read_piece(const TensorEntry& tensor, const Piece& piece,
                                  std::span<std::byte> out) {
  WEFT_TRY_ASSIGN(SafetensorsFile* const source, file(piece.file));
  const auto bad = [&](const std::string& why) {
    return fail(Code::Corrupt, (directory_ / piece.file).string() + ": " + tensor.item +
                                   " tensor '" + tensor.name + "' " + why +
                                   " (resume from an older checkpoint)");
  };
  const TensorInfo* const info = source->find(tensor.name);
  if (!info) return bad("is not in the file");
  if (info->dtype != tensor.dtype || info->shape != piece.box.shape)
    return bad("has another type or shape than the manifest says");
  WEFT_TRY_ASSIGN(const Hash128 hash, source->read(*info, out));
  if (hash != piece.hash) return bad("does not match its checksum");
  return {};
}

Expected<void> Reader::read_whole(const TensorEntry& tensor, std::span<std::byte> out) {
  if (tensor.pieces.size() == 1) return read_piece(tensor, tensor.pieces[0], out);
  std::vector<std::byte> buffer;
  for (const Piece& piece : tensor.pieces) {
    buffer.resize(piece.bytes);
    WEFT_TRY(read_piece(tensor, piece, buffer));
    scatter(tensor.shape, piece.box, buffer.data(), out.data(), bytes_of(tensor.dtype));
  }
  return {};
}

Expected<void> Reader::read_bytes(const TensorEntry& tensor, std::span<std::byte> out) {
  const std::uint64_t bytes = *num_elements(tensor.shape) * bytes_of(tensor.dtype);
  if (out.size() != bytes)
    return fail(Code::InvalidArgument, tensor.item + " tensor '" + tensor.name + "' has " +
                                           std::to_string(bytes) + " bytes, asked for " +
                                           std::to_string(out.size()));
  return read_whole(tensor, out);
}

template <class T>
Expected<void> Reader::read_as(std::string_view item, std::string_view name, std::span<T> out) {
  WEFT_TRY_ASSIGN(const TensorEntry* const tensor, find(item, name));
  const std::string what = std::string(item) + " tensor '" + tensor->name + "'";
  if (tensor->dtype != Dtype::F32 && tensor->dtype != Dtype::BF16)
    return fail(Code::Unsupported,
                what + " is " + std::string(to_string(tensor->dtype)) + "; F32 and BF16 are read");
  const std::uint64_t elements = *num_elements(tensor->shape);  // validated with the manifest
  if (out.size() != elements)
    return fail(Code::InvalidArgument, what + " of shape " + to_string(tensor->shape) + " has " +
                                           std::to_string(elements) + " elements, asked for " +
                                           std::to_string(out.size()));
  if (bytes_of(tensor->dtype) == sizeof(T)) return read_whole(*tensor, std::as_writable_bytes(out));
  using Other = std::conditional_t<std::is_same_v<T, float>, Bf16, float>;
  std::vector<Other> kept(elements);
  WEFT_TRY(read_whole(*tensor, std::as_writable_bytes(std::span(kept))));
  for (std::size_t i = 0; i < elements; ++i) out[i] = T(static_cast<float>(kept[i]));
  return {};
}

Expected<void> Reader::read(std::string_view item, std::string_view name, std::span<float> out) {
  return read_as(item, name, out);
}
Expected<void> Reader::read(std::string_view item, std::string_view name, std::span<Bf16> out) {
  return read_as(item, name, out);
}

Expected<std::string> Reader::state() const {
  const FileEntry* const entry = manifest_.find_file(kStateFile);
  if (!entry)
    return fail(Code::Corrupt, directory_.string() + ": the manifest names no " + kStateFile);
  WEFT_TRY_ASSIGN(std::string text, read_text(*disk_, directory_ / kStateFile, entry->bytes));
  if (text.size() != entry->bytes || hash_of(text) != entry->hash)
    return fail(Code::Corrupt, (directory_ / kStateFile).string() + " does not match its checksum" +
                                   " (resume from an older checkpoint)");
  return text;
}

}  // namespace weft::trainer::checkpoint
