#include "runtime/coordinator_shell/terms.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/files.h"

namespace weft::runtime {

using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr long long kKeptTerms = 20;  // their journals tell what happened
constexpr std::size_t kMaxLeaderBytes = 65536;

/// Term numbers below the directory, ascending. Errors: Io, when it is there and cannot be read.
Expected<std::vector<long long>> terms_in(const fs::path& terms) {
  std::vector<long long> found;
  std::error_code error;
  fs::directory_iterator entry(terms, error);
  if (error == std::errc::no_such_file_or_directory) return found;
  if (error) return io_error("list", terms, error.value());
  for (const fs::directory_iterator end; entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    long long term = 0;
    const auto [last, bad] = std::from_chars(name.data(), name.data() + name.size(), term);
    if (bad == std::errc() && last == name.data() + name.size() && term > 0) found.push_back(term);
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace

fs::path term_directory(const fs::path& terms, long long term) {
  return terms / std::to_string(term);
}
fs::path term_journal(const fs::path& terms, long long term) {
  return term_directory(terms, term) / "journal.sqlite";
}

Expected<long long> highest_term(const fs::path& terms) {
  WEFT_TRY_ASSIGN(const auto found, terms_in(terms));
  return found.empty() ? 0 : found.back();
}

Expected<bool> take_term(const fs::path& terms, long long term) {
  std::error_code error;
  fs::create_directories(terms, error);
  if (error) return io_error("create", terms, error.value());
  const fs::path path = term_directory(terms, term);
  if (::mkdir(path.c_str(), 0755) == 0) return true;
  if (errno == EEXIST) return false;
  return io_error("create", path, errno);
}

Expected<void> write_leader(const fs::path& terms, const Leader& leader) {
  const json record = {{"schema", "weft.leader/v1"}, {"term", leader.term},
                       {"node", leader.node},        {"host", leader.host},
                       {"pid", leader.pid},          {"endpoint", leader.endpoint},
                       {"version", leader.version}};
  return write_file_atomically(term_directory(terms, leader.term) / "leader.json",
                               record.dump(2) + "\n");
}

Expected<Leader> read_leader(const fs::path& terms, long long term) {
  const fs::path path = term_directory(terms, term) / "leader.json";
  WEFT_TRY_ASSIGN(const std::string text, read_file(path, kMaxLeaderBytes));
  const json record = json::parse(text, nullptr, false);
  try {
    return Leader{term,
                  record.at("node").get<std::string>(),
                  record.at("host").get<std::string>(),
                  record.at("pid").get<int>(),
                  record.at("endpoint").get<std::string>(),
                  record.at("version").get<std::string>()};
  } catch (const json::exception& error) {
    return fail(Code::Corrupt, path.string() + " is damaged: " + error.what());
  }
}

void remove_old_terms(const fs::path& terms, long long term) {
  const auto found = terms_in(terms);
  if (!found) return;
  for (const long long old : *found) {
    std::error_code ignored;
    if (old + kKeptTerms < term) fs::remove_all(term_directory(terms, old), ignored);
  }
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

}  // namespace weft::runtime
