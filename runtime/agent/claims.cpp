#include "runtime/agent/claims.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/files.h"
#include "runtime/coordinator/state_json.h"

namespace weft::runtime {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kKeptTerms = 20;
constexpr std::size_t kMaxClaimBytes = 1 << 20;

/// Names below the directory that are numbers, ascending. Errors: Io, when it cannot be read.
Expected<std::vector<std::int64_t>> numbers_in(const fs::path& directory) {
  std::vector<std::int64_t> found;
  std::error_code error;
  fs::directory_iterator entry(directory, error);
  if (error == std::errc::no_such_file_or_directory) return found;
  if (error) return io_error("list", directory, error.value());
  for (const fs::directory_iterator end; entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    std::int64_t number = 0;
    const auto [last, bad] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (bad == std::errc() && last == name.data() + name.size() && number > 0)
      found.push_back(number);
    if (error) return io_error("list", directory, error.value());
  }
  std::ranges::sort(found);
  return found;
}

Expected<std::int64_t> highest_in(const fs::path& directory) {
  WEFT_TRY_ASSIGN(const auto found, numbers_in(directory));
  return found.empty() ? 0 : found.back();
}

Expected<void> make_directories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return io_error("create", path, error.value());
  return {};
}

fs::path claim_path(const RunPaths& paths, std::int64_t term) {
  return term_directory(paths, term) / "claim.json";
}
fs::path end_path(const RunPaths& paths, std::int64_t term) {
  return term_directory(paths, term) / "end.json";
}

/// None when there is no such file.
Expected<std::optional<json>> read_object(const fs::path& path) {
  const auto text = read_file(path, kMaxClaimBytes);
  if (!text && text.error().code == Code::NotFound) return std::nullopt;
  if (!text) return tl::unexpected(text.error());
  return json::parse(*text, nullptr, false);
}

}  // namespace

fs::path term_directory(const RunPaths& paths, std::int64_t term) {
  return paths.terms() / std::to_string(term);
}
fs::path term_journal(const RunPaths& paths, std::int64_t term) {
  return term_directory(paths, term) / "journal.sqlite";
}

Expected<std::int64_t> highest_term(const RunPaths& paths) { return highest_in(paths.terms()); }
Expected<std::int64_t> highest_generation(const RunPaths& paths) {
  return highest_in(paths.generations());
}

Expected<Claims> read_claims(const RunPaths& paths) {
  Claims claims;
  WEFT_TRY_ASSIGN(const std::int64_t term, highest_term(paths));
  WEFT_TRY_ASSIGN(claims.generation, highest_generation(paths));
  if (term > 0) {
    claims.highest.emplace();
    claims.highest->term = term;
    WEFT_TRY_ASSIGN(const auto object, read_object(claim_path(paths, term)));
    if (object) {
      auto claim = claim_from_json(*object);
      if (!claim) return fail_in(claim_path(paths, term).string(), claim.error());
      claims.highest = *claim;
      claims.highest->term = term;
    }
  }
  WEFT_TRY_ASSIGN(const auto end, read_object(end_path(paths, term)));
  if (end) {
    auto read = run_end_from_json(*end);
    if (!read) return fail_in(end_path(paths, term).string(), read.error());
    claims.end = *read;
  }
  return claims;
}

Expected<bool> take_term(const RunPaths& paths, const Claim& claim) {
  WEFT_TRY(make_directories(paths.terms()));
  const fs::path path = term_directory(paths, claim.term);
  if (::mkdir(path.c_str(), 0755) != 0) {
    if (errno == EEXIST) return false;
    return io_error("create", path, errno);
  }
  WEFT_TRY(write_claim(paths, claim));
  return true;
}

Expected<void> write_claim(const RunPaths& paths, const Claim& claim) {
  return replace_file(claim_path(paths, claim.term), to_json(claim).dump() + "\n");
}

Expected<std::string> silent_leader(const RunPaths& paths, std::int64_t term,
                                    const std::string& node) {
  WEFT_TRY_ASSIGN(const auto object, read_object(claim_path(paths, term - 1)));
  if (!object) return "";
  const auto claim = claim_from_json(*object);
  // One that cannot be read accuses nobody.
  return !claim || claim->abdicated || claim->node == node ? "" : claim->node;
}

Expected<bool> take_generation(const RunPaths& paths, std::int64_t number, std::int64_t term) {
  WEFT_TRY(make_directories(paths.generations()));
  const fs::path path = paths.generations() / std::to_string(number);
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file >= 0) {
    const std::string text = std::to_string(term) + "\n";
    const bool written =
        ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    const int reason = errno;
    ::close(file);
    if (written) return true;
    ::unlink(path.c_str());
    return io_error("write", path, reason);
  }
  if (errno != EEXIST) return io_error("create", path, errno);
  WEFT_TRY_ASSIGN(const std::string owner, read_file(path, 64));
  return owner == std::to_string(term) + "\n";
}

Expected<void> write_end(const RunPaths& paths, std::int64_t term, const RunEnd& end) {
  return write_file_atomically(end_path(paths, term), to_json(end).dump() + "\n");
}

void remove_old_terms(const RunPaths& paths, std::int64_t term) {
  const auto found = numbers_in(paths.terms());
  if (!found) return;
  for (const std::int64_t old : *found) {
    std::error_code ignored;
    if (old + kKeptTerms < term) fs::remove_all(term_directory(paths, old), ignored);
  }
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

}  // namespace weft::runtime
