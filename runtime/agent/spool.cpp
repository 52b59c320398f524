#include "runtime/agent/spool.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/files.h"
#include "runtime/control/whole_number.h"

namespace weft::runtime {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr off_t kLong = 16 << 20;  // a file that begins anew once everything in it is stored

/// The incarnation in "node.7.jsonl", or 0.
std::uint64_t incarnation_of(const std::string& name, const std::string& node) {
  if (!name.starts_with(node + ".") || !name.ends_with(".jsonl")) return 0;
  const char* begin = name.data() + node.size() + 1;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), number);
  return error == std::errc() && std::string_view(end) == ".jsonl" ? number : 0;
}

Expected<SpoolRecord> parse_record(std::string_view line) {
  json object = json::parse(line, nullptr, false);
  try {
    SpoolRecord record;
    record.generation = whole(object.at("generation"));
    record.rank = whole<int>(object.at("rank"));
    record.key.sequence = whole(object.at("sequence"));
    record.key.step = whole(object.at("step"));
    record.message = object.at("message").get<std::string>();
    return record;
  } catch (const json::exception& error) {
    return fail(Code::Corrupt, error.what());
  }
}

}  // namespace

fs::path spool_file(const fs::path& directory, const std::string& node, std::uint64_t incarnation) {
  return directory / (node + "." + std::to_string(incarnation) + ".jsonl");
}

Expected<std::unique_ptr<SpoolWriter>> SpoolWriter::open(const fs::path& directory,
                                                         const std::string& node) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return io_error("create", directory, error.value());
  std::uint64_t highest = 0;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error))
    highest = std::max(highest, incarnation_of(entry->path().filename().string(), node));
  if (error) return io_error("list", directory, error.value());
  for (std::uint64_t mine = highest + 1;; ++mine) {
    const fs::path path = spool_file(directory, node, mine);
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (file >= 0) return std::unique_ptr<SpoolWriter>(new SpoolWriter(file, mine, path));
    if (errno != EEXIST) return io_error("create", path, errno);
  }
}

SpoolWriter::~SpoolWriter() {
  if (file_ >= 0) ::close(file_);
}

Expected<void> SpoolWriter::append(const SpoolRecord& record) {
  const std::string line = json{{"generation", record.generation},
                                {"rank", record.rank},
                                {"sequence", record.key.sequence},
                                {"step", record.key.step},
                                {"message", record.message}}
                               .dump(-1, ' ', false, json::error_handler_t::replace) +
                           '\n';
  struct stat before {};
  if (::fstat(file_, &before) != 0) return io_error("measure", path_, errno);
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t n = ::write(file_, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int reason = errno;
      if (::ftruncate(file_, before.st_size) != 0) return io_error("repair", path_, errno);
      return io_error("write", path_, reason);
    }
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
  dirty_ = true;
  return {};
}

Expected<void> SpoolWriter::sync() {
  if (dirty_ && ::fdatasync(file_) != 0) return io_error("sync", path_, errno);
  dirty_ = false;
  return {};
}

void SpoolWriter::all_stored(bool at_end) {
  struct stat now {};
  if (::fstat(file_, &now) == 0 && (at_end || now.st_size > kLong))
    (void)!::ftruncate(file_, 0);  // it only stays longer than it need be
}

Expected<void> read_spool(const fs::path& file, long long& damaged,
                          const std::function<Expected<void>(SpoolRecord&&)>& take) {
  auto text = read_file(file, std::size_t{1} << 34);
  if (!text && text.error().code == Code::NotFound) return {};
  if (!text) return tl::unexpected(text.error());
  std::size_t begin = 0;
  for (std::size_t end; (end = text->find('\n', begin)) != std::string::npos; begin = end + 1) {
    auto record = parse_record(std::string_view(*text).substr(begin, end - begin));
    if (record)
      WEFT_TRY(take(std::move(*record)));
    else
      ++damaged;
  }
  return {};
}

}  // namespace weft::runtime
