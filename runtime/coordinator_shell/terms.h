// Who leads a run: terms/<n>/ of the run directory. Whoever creates the directory of a term first
// leads in it; agents obey only the highest term that they have seen.
#pragma once

#include <filesystem>
#include <string>

#include "base/expected.h"

namespace weft::runtime {

struct Leader {
  long long term = 0;
  std::string node, host;
  int pid = 0;
  std::string endpoint;  // where its coordinator listens; "": not yet
  std::string version;   // of weft
};

std::filesystem::path term_directory(const std::filesystem::path& terms, long long term);
std::filesystem::path term_journal(const std::filesystem::path& terms, long long term);

/// The highest term that anybody took; 0: none yet. Errors: Io.
Expected<long long> highest_term(const std::filesystem::path& terms);
/// True: this term is ours. False: somebody was first. Errors: Io.
Expected<bool> take_term(const std::filesystem::path& terms, long long term);

Expected<void> write_leader(const std::filesystem::path& terms, const Leader& leader);
/// Errors: NotFound before the leader said where it is; Corrupt.
Expected<Leader> read_leader(const std::filesystem::path& terms, long long term);

/// Removes the directories of terms that end before `term`, the newest few excepted.
void remove_old_terms(const std::filesystem::path& terms, long long term);

std::string host_name();

}  // namespace weft::runtime
