// What a run's shared directory says about who leads: terms/<n>/claim.json, generations/<n> and
// terms/<n>/end.json. Whoever creates one of them first owns it, whichever host it is on; nothing
// here compares clocks. What it means is election.h's business.
#pragma once

#include <filesystem>
#include <string>

#include "base/expected.h"
#include "runtime/coordinator/election.h"
#include "runtime/store/run_store.h"

namespace weft::runtime {

std::filesystem::path term_directory(const RunPaths& paths, std::int64_t term);
std::filesystem::path term_journal(const RunPaths& paths, std::int64_t term);

/// Errors: Io. A claim that is being written has no endpoint yet.
Expected<Claims> read_claims(const RunPaths& paths);
/// 0: none yet.
Expected<std::int64_t> highest_term(const RunPaths& paths);

/// True: the term is `claim`'s. False: somebody was first. Errors: Io.
Expected<bool> take_term(const RunPaths& paths, const Claim& claim);
/// The holder of a term says where it listens, or that it still lives. Errors: Io.
Expected<void> write_claim(const RunPaths& paths, const Claim& claim);

/// The node whose leader held the term before `term` and let its lease run out; "" when it gave up,
/// led on `node` itself, or there was none. Errors: Io.
Expected<std::string> silent_leader(const RunPaths& paths, std::int64_t term,
                                    const std::string& node);

/// True: generations/<number> belongs to `term`, now or since before. Errors: Io.
Expected<bool> take_generation(const RunPaths& paths, std::int64_t number, std::int64_t term);
Expected<std::int64_t> highest_generation(const RunPaths& paths);

/// It counts while no later term is claimed: a deposed leader ends nothing.
Expected<void> write_end(const RunPaths& paths, std::int64_t term, const RunEnd& end);

/// Removes what terms long before `term` left behind; the newest journals tell what happened.
void remove_old_terms(const RunPaths& paths, std::int64_t term);

std::string host_name();

}  // namespace weft::runtime
