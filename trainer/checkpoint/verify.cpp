#include "trainer/checkpoint/verify.h"

#include <algorithm>
#include <map>

#include "trainer/checkpoint/safetensors.h"

namespace weft::trainer::checkpoint {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{4} << 20;

struct Expectation {
  const TensorEntry* tensor;
  const Piece* piece;
};
using Expectations =
    std::map<std::string, std::map<std::string, Expectation>>;  // file, tensor name

/// Each tensor name is at most once in a file: one file belongs to one item.
Expectations pieces_by_file(const Manifest& manifest) {
  Expectations by_file;
  for (const TensorEntry& t : manifest.tensors)
    for (const Piece& p : t.pieces) by_file[p.file][t.name] = {&t, &p};
  return by_file;
}

bool is_shard(const std::string& path) { return path.ends_with(kShardSuffix); }

class Verifier {
 public:
  Verifier(const fs::path& directory, const Manifest& manifest, Mode mode, Disk& disk,
           VerifyReport& report)
      : directory_(directory), manifest_(manifest), disk_(disk), report_(report) {
    report.mode = mode;
  }

  void run() {
    const Expectations expected = pieces_by_file(manifest_);
    for (const FileEntry& file : manifest_.files) {
      ++report_.files;
      report_.bytes += file.bytes;
      const auto it = expected.find(file.path);
      static const std::map<std::string, Expectation> kNone;
      check_file(file, it == expected.end() ? kNone : it->second);
    }
  }

 private:
  void damaged(const std::string& file, const std::string& tensor, std::string reason) {
    report_.damage.push_back({file, tensor, std::move(reason)});
  }

  void check_file(const FileEntry& entry, const std::map<std::string, Expectation>& pieces) {
    auto file = disk_.open(directory_ / entry.path);
    if (!file) return damaged(entry.path, "", file.error().message);
    const auto size = (*file)->size();
    if (!size) return damaged(entry.path, "", size.error().message);
    if (*size != entry.bytes)
      return damaged(entry.path, "",
                     "has " + std::to_string(*size) + " bytes, must have " +
                         std::to_string(entry.bytes) + (*size < entry.bytes ? " (truncated)" : ""));
    if (report_.mode != Mode::Full) return;
    hasher_.reset();
    if (is_shard(entry.path))
      check_shard(entry, pieces);
    else if (auto good = hash_range(**file, 0, entry.bytes, nullptr); !good)
      return damaged(entry.path, "", good.error().message);
    else
      check_file_hash(entry);
  }

  void check_file_hash(const FileEntry& entry) {
    if (hasher_.digest() != entry.hash)
      damaged(entry.path, "", "its bytes do not match the checksum in the manifest");
  }

  void check_shard(const FileEntry& entry, const std::map<std::string, Expectation>& pieces) {
    auto shard = SafetensorsFile::open(disk_, directory_ / entry.path);
    if (!shard) return damaged(entry.path, "", shard.error().message);
    for (const auto& [name, expectation] : pieces)
      if (!shard->find(name)) damaged(entry.path, name, "is not in the file");
    const auto hashed = [&]() -> Expected<void> {
      WEFT_TRY(hash_range(*shard, 0, shard->header().data_start, nullptr));
      for (const TensorInfo& tensor : shard->header().tensors) {
        Hasher own;
        WEFT_TRY(hash_range(*shard, shard->header().data_start + tensor.begin,
                            tensor.end - tensor.begin, &own));
        check_tensor_in(entry, tensor, own.digest(), pieces);
      }
      return {};
    }();
    if (!hashed) return damaged(entry.path, "", hashed.error().message);
    check_file_hash(entry);
  }

  void check_tensor_in(const FileEntry& entry, const TensorInfo& tensor, const Hash128& hash,
                       const std::map<std::string, Expectation>& pieces) {
    const auto it = pieces.find(tensor.name);
    if (it == pieces.end()) return damaged(entry.path, tensor.name, "is not in the manifest");
    const auto& [wanted, piece] = it->second;
    if (tensor.dtype != wanted->dtype || tensor.shape != piece->box.shape)
      return damaged(entry.path, tensor.name,
                     "is " + std::string(to_string(tensor.dtype)) + to_string(tensor.shape) +
                         ", the manifest says " + std::string(to_string(wanted->dtype)) +
                         to_string(piece->box.shape));
    if (hash != piece->hash)
      damaged(entry.path, tensor.name, "its bytes do not match the checksum in the manifest");
  }

  /// Feeds the file's hash, and `own` where given, with bytes [begin, begin + size).
  template <class Source>
  Expected<void> hash_range(Source& source, std::uint64_t begin, std::uint64_t size, Hasher* own) {
    if (chunk_.size() < std::min<std::uint64_t>(size, kChunkBytes))
      chunk_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(size, kChunkBytes)));
    while (size > 0) {
      const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(size, kChunkBytes));
      const std::span<std::byte> part(chunk_.data(), n);
      WEFT_TRY(source.read_at(begin, part));
      hasher_.add(part);
      if (own) own->add(part);
      begin += n;
      size -= n;
    }
    return {};
  }

  const fs::path& directory_;
  const Manifest& manifest_;
  Disk& disk_;
  VerifyReport& report_;
  Hasher hasher_;
  std::vector<std::byte> chunk_;
};

void check_checksums(const fs::path& directory, const Manifest& manifest, const std::string& text,
                     Disk& disk, VerifyReport& report) {
  const std::string wanted = format_checksums(manifest, text);
  const auto have = read_text(disk, directory / kChecksumsFile, wanted.size());
  if (!have)
    report.damage.push_back({kChecksumsFile, "", have.error().message});
  else if (*have != wanted)
    report.damage.push_back({kChecksumsFile, "", "does not say what the manifest says"});
}

/// Files below `directory` (one folder deep, as we write them) that nobody promised.
Expected<void> find_strays(const fs::path& directory, const Manifest& manifest, Disk& disk,
                           VerifyReport& report) {
  WEFT_TRY_ASSIGN(const auto names, disk.names_in(directory));
  for (const std::string& name : names) {
    if (name == kManifestFile || name == kChecksumsFile || manifest.find_file(name)) continue;
    const auto inner = disk.names_in(directory / name);
    if (!inner) report.strays.push_back(name);
    for (const std::string& file : inner ? *inner : std::vector<std::string>())
      if (!manifest.find_file(name + "/" + file)) report.strays.push_back(name + "/" + file);
  }
  return {};
}

}  // namespace

std::string VerifyReport::summary() const {
  if (ok()) return "";
  std::string text = std::to_string(damage.size()) + " damaged: ";
  constexpr std::size_t kShown = 3;
  for (std::size_t i = 0; i < std::min(damage.size(), kShown); ++i) {
    const Damage& d = damage[i];
    text += (i ? "; " : "") + d.file + (d.tensor.empty() ? "" : ", tensor '" + d.tensor + "'") +
            ": " + d.reason;
  }
  if (damage.size() > kShown) text += "; and " + std::to_string(damage.size() - kShown) + " more";
  return text;
}

Expected<Manifest> load_manifest(const fs::path& directory, Disk& disk) {
  WEFT_TRY_ASSIGN(const std::string text,
                  read_text(disk, directory / kManifestFile, kManifestBytesMax));
  auto manifest = from_json(text);
  if (!manifest) return fail_in((directory / kManifestFile).string(), manifest.error());
  return manifest;
}

Expected<Examined> examine(const fs::path& directory, Mode mode, Disk& disk) {
  WEFT_TRY(disk.names_in(directory));
  VerifyReport report;
  report.mode = mode;
  const fs::path path = directory / kManifestFile;
  const auto text = read_text(disk, path, kManifestBytesMax);
  auto manifest = text ? from_json(*text) : tl::unexpected(text.error());
  if (!manifest) {
    report.damage.push_back({kManifestFile, "", manifest.error().message});
    if (text) manifest = fail_in(path.string(), manifest.error());
    return Examined{std::move(report), std::move(manifest)};
  }
  check_checksums(directory, *manifest, *text, disk, report);
  if (mode != Mode::Manifest) Verifier(directory, *manifest, mode, disk, report).run();
  WEFT_TRY(find_strays(directory, *manifest, disk, report));
  return Examined{std::move(report), std::move(manifest)};
}

Expected<VerifyReport> verify(const fs::path& directory, Mode mode, Disk& disk) {
  WEFT_TRY_ASSIGN(Examined examined, examine(directory, mode, disk));
  return std::move(examined.report);
}

}  // namespace weft::trainer::checkpoint
