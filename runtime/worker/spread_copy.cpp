#include "runtime/worker/spread_copy.h"

#include <algorithm>
#include <memory>

#include "trainer/checkpoint/disk.h"
#include "trainer/checkpoint/hash.h"
#include "trainer/checkpoint/verify.h"

namespace weft::runtime {

namespace checkpoint = trainer::checkpoint;
using checkpoint::Disk;
using checkpoint::Manifest;

namespace {

constexpr std::size_t kChunkBytes = std::size_t{4} << 20;
constexpr std::size_t kBytesPerRound = std::size_t{64} << 20;  // those without a part in it wait
constexpr comm::Tag kPiece = 0x5b12ead;

std::string bits_text(const std::vector<bool>& bits) {
  std::string text;
  for (const bool bit : bits) text += bit ? '1' : '0';
  return text;
}

std::vector<bool> bits_of(const std::string& text, std::size_t size) {
  std::vector<bool> bits(size);
  for (std::size_t i = 0; i < std::min(size, text.size()); ++i) bits[i] = text[i] == '1';
  return bits;
}

/// What this node has of the copy: the manifest's text, and which files of it are there.
struct Held {
  std::string manifest;
  std::vector<bool> files;
};

Held look(const std::filesystem::path& copy, std::uint64_t generation) {
  if (copy.empty()) return {};
  Disk& disk = Disk::real();
  const auto text =
      checkpoint::read_text(disk, copy / checkpoint::kManifestFile, checkpoint::kManifestBytesMax);
  const auto manifest = text ? checkpoint::from_json(*text) : tl::unexpected(text.error());
  if (!manifest || manifest->attempt != generation) return {};
  Held held{*text, {}};
  for (const checkpoint::FileEntry& entry : manifest->files) {
    const auto file = disk.open(copy / entry.path);
    const auto size = file ? (*file)->size() : tl::unexpected(file.error());
    held.files.push_back(size && *size == entry.bytes);
  }
  return held;
}

/// One file's way, on its two ends; the others come to the rounds' ends alone.
class Mover {
 public:
  Mover(comm::Communicator& world, const CopyNodes& nodes, const std::filesystem::path& copy)
      : world_(world), nodes_(nodes), copy_(copy) {}

  /// Errors: those of the world; what else goes wrong is in trouble().
  Expected<void> move(const FileMove& move, const checkpoint::FileEntry& entry) {
    const bool gives = world_.rank() == nodes_.carrier(move.from);
    const bool takes = world_.rank() == nodes_.carrier(move.to);
    std::unique_ptr<checkpoint::File> file;
    if (gives) keep(file, Disk::real().open(copy_ / entry.path));
    if (takes) keep(file, create(entry.path));
    checkpoint::Hasher hasher;
    for (std::uint64_t at = 0; at < entry.bytes;) {
      const auto size =
          static_cast<std::size_t>(std::min<std::uint64_t>(kChunkBytes, entry.bytes - at));
      buffer_.resize(gives || takes ? size : 0);
      // What cannot be read goes wrong at its other end: its hash does not fit.
      if (gives && file) note(file->read_at(at, buffer_));
      if (gives) WEFT_TRY(comm::send(world_, nodes_.carrier(move.to), kPiece, buffer_));
      if (takes) WEFT_TRY(comm::receive(world_, nodes_.carrier(move.from), kPiece, buffer_));
      if (takes) hasher.add(buffer_);
      if (takes && file) note(file->write_at(at, buffer_));
      at += size;
      moved_ += size;
      if (moved_ < kBytesPerRound) continue;
      moved_ = 0;
      WEFT_TRY(comm::barrier(world_));
    }
    if (takes && hasher.digest() != entry.hash)
      note(fail(Code::Corrupt, entry.path + " of node " +
                                   nodes_.names[static_cast<std::size_t>(move.from)] +
                                   " did not arrive as it was written: its checksum is another"));
    return {};
  }
  const std::string& trouble() const { return trouble_; }
  void note(const Expected<void>& done) {
    if (!done && trouble_.empty()) trouble_ = done.error().message;
  }

 private:
  Expected<std::unique_ptr<checkpoint::File>> create(const std::string& path) {
    if (copy_.empty()) return fail(Code::Corrupt, "it keeps no copies in memory");
    WEFT_TRY(Disk::real().make_directories((copy_ / path).parent_path()));
    return Disk::real().create(copy_ / path);
  }
  void keep(std::unique_ptr<checkpoint::File>& file,
            Expected<std::unique_ptr<checkpoint::File>> opened) {
    if (opened)
      file = std::move(*opened);
    else if (trouble_.empty())
      trouble_ = opened.error().message;
  }

  comm::Communicator& world_;
  const CopyNodes& nodes_;
  const std::filesystem::path& copy_;
  std::vector<std::byte> buffer_;
  std::size_t moved_ = 0;
  std::string trouble_;
};

/// The manifest of whoever has it, on every rank. Errors: Corrupt when nobody has.
Expected<std::string> spread_manifest(comm::Communicator& world, const CopyNodes& nodes,
                                      const Held& held, std::vector<std::vector<bool>>& has,
                                      const std::filesystem::path& copy) {
  const std::string mine =
      held.manifest.empty()
          ? ""
          : checkpoint::to_hex(checkpoint::hash_of(held.manifest)) + bits_text(held.files);
  WEFT_TRY_ASSIGN(const auto said, comm::all_gather_text(world, mine));
  constexpr std::size_t kHash = 32;
  int source = -1;
  std::string hash;
  for (int node = 0; node < nodes.size(); ++node) {
    const std::string& text = said[static_cast<std::size_t>(nodes.carrier(node))];
    if (text.size() < kHash) continue;
    if (source < 0) hash = text.substr(0, kHash);
    if (source < 0) source = nodes.carrier(node);
    if (text.substr(0, kHash) != hash)
      return fail(Code::Corrupt, copy.string() + ": the nodes have different manifests");
    has[static_cast<std::size_t>(node)] = bits_of(text.substr(kHash), text.size() - kHash);
  }
  if (source < 0) return fail(Code::Corrupt, copy.string() + " is not there any more");
  std::uint64_t size = held.manifest.size();
  WEFT_TRY(comm::broadcast(world, source, std::as_writable_bytes(std::span(&size, 1))));
  if (size > checkpoint::kManifestBytesMax)
    return fail(Code::Corrupt, copy.string() + ": a manifest of an impossible size");
  std::string text = held.manifest;
  text.resize(static_cast<std::size_t>(size));
  WEFT_TRY(comm::broadcast(world, source, std::as_writable_bytes(std::span(text))));
  return text;
}

/// The small files that a reader wants beside the shards.
Expected<void> complete_directory(const std::filesystem::path& copy, const Manifest& manifest,
                                  const std::string& text) {
  Disk& disk = Disk::real();
  WEFT_TRY(checkpoint::write_text(disk, copy / checkpoint::kChecksumsFile,
                                  checkpoint::format_checksums(manifest, text)));
  return checkpoint::write_text(disk, copy / checkpoint::kManifestFile, text);
}

}  // namespace

Expected<std::vector<FileMove>> plan_spread(const std::vector<std::vector<bool>>& has,
                                            const std::vector<std::vector<bool>>& needs) {
  std::vector<FileMove> moves;
  const std::size_t files = needs.empty() ? 0 : needs.front().size();
  for (std::size_t file = 0; file < files; ++file) {
    std::vector<int> sources;
    for (std::size_t node = 0; node < has.size(); ++node)
      if (file < has[node].size() && has[node][file]) sources.push_back(static_cast<int>(node));
    std::size_t turn = 0;
    for (std::size_t node = 0; node < needs.size(); ++node) {
      if (!needs[node][file] || (file < has[node].size() && has[node][file])) continue;
      if (sources.empty())
        return fail(Code::Corrupt, "no node has its file number " + std::to_string(file));
      moves.push_back({file, sources[turn++ % sources.size()], static_cast<int>(node)});
    }
  }
  return moves;
}

Expected<void> spread_copy(comm::Communicator& world, const CopyNodes& nodes,
                           const std::filesystem::path& copy, std::uint64_t generation,
                           const FilesNeeded& needs) {
  const bool carries = nodes.carries(world.rank());
  const auto count = static_cast<std::size_t>(nodes.size());
  const Held held = carries ? look(copy, generation) : Held{};
  std::vector<std::vector<bool>> has(count);
  WEFT_TRY_ASSIGN(const std::string text, spread_manifest(world, nodes, held, has, copy));
  // Every rank judges the same text alike.
  WEFT_TRY_ASSIGN(const Manifest manifest, checkpoint::from_json(text));
  WEFT_TRY_ASSIGN(const auto wanted, comm::all_gather_text(world, bits_text(needs(manifest))));
  const std::size_t files = manifest.files.size();
  std::vector<std::vector<bool>> needed(count, std::vector<bool>(files));
  for (std::size_t rank = 0; rank < wanted.size(); ++rank) {
    const std::vector<bool> bits = bits_of(wanted[rank], files);
    std::vector<bool>& node = needed[static_cast<std::size_t>(nodes.node_of_rank[rank])];
    for (std::size_t file = 0; file < files; ++file) node[file] = node[file] || bits[file];
  }
  auto moves = plan_spread(has, needed);
  if (!moves) return fail_in(copy.string(), moves.error());

  Mover mover(world, nodes, copy);
  // A directory of the same name that another generation wrote.
  const bool incomplete = carries && held.manifest.empty() && !copy.empty();
  if (incomplete) mover.note(Disk::real().remove_tree(copy));
  if (incomplete) mover.note(Disk::real().make_directories(copy));
  for (const FileMove& move : *moves) WEFT_TRY(mover.move(move, manifest.files[move.file]));
  if (incomplete) mover.note(complete_directory(copy, manifest, text));
  WEFT_TRY_ASSIGN(const auto troubles, comm::all_gather_text(world, mover.trouble()));
  for (std::size_t rank = 0; rank < troubles.size(); ++rank)
    if (!troubles[rank].empty())
      return fail(Code::Corrupt,
                  "node " + nodes.names[static_cast<std::size_t>(nodes.node_of_rank[rank])] + ": " +
                      troubles[rank]);
  return {};
}

}  // namespace weft::runtime
