// Who leads: terms and leases against a shared directory, as values. Pure: what was read there ->
// what to do. A term is won by creating terms/<n> exclusively; its holder renews a counter in it.
// Nobody compares clocks: a lease has expired when an agent saw the same counter for long enough by
// its own clock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "base/clock.h"
#include "runtime/coordinator/messages.h"

namespace weft::runtime {

/// terms/<term>
struct Claim {
  std::int64_t term = 0;
  std::string node;
  std::uint64_t incarnation = 0;  // of the agent whose child the coordinator is
  std::string endpoint;           // where agents find it; "" until it listens
  std::int64_t beat = 0;          // renewals so far
  bool abdicated = false;         // its holder gave up: nobody needs to wait for the lease
  friend bool operator==(const Claim&, const Claim&) = default;
};

/// The run's end, as the coordinator recorded it.
struct RunEnd {
  Outcome outcome = Outcome::Undecided;
  std::string reason;
  friend bool operator==(const RunEnd&, const RunEnd&) = default;
};

/// What the shared directory says.
struct Claims {
  std::optional<Claim> highest;  // of all terms
  std::int64_t generation = 0;   // the highest claimed one
  std::optional<RunEnd> end;     // as the holder of the highest term recorded it
};

struct ElectionOptions {
  Duration look_bound = std::chrono::milliseconds(1500);  // without a word of the leader: look
  Duration silent_bound = std::chrono::seconds(3);        // then another one may lead
  Duration read_every = std::chrono::milliseconds(500);
  Duration lease_bound = std::chrono::seconds(5);       // the counter stood still for so long
  int lease_reads = 4;                                  // and was read so often meanwhile
  Duration stagger = std::chrono::milliseconds(400);    // between candidates, by roster
  int stagger_places = 16;                              // roster modulo this
  Duration abdicated_pause = std::chrono::seconds(10);  // for an agent whose coordinator gave up
  Duration crash_pause_max = std::chrono::seconds(30);  // between starts of one that keeps crashing
};

/// An agent's view of who leads. Values only; made fresh with the agent.
struct ElectionState {
  std::int64_t term = 0;        // the highest seen
  std::optional<Claim> leader;  // of that term, once read
  Instant last_heard{};         // from that leader, or when it became known
  Instant last_read{};
  std::int64_t watched_beat = -1;  // the counter as last read
  Instant beat_since{};            // since when it stands
  int beat_reads = 0;              // how often it was read so
  Instant not_before{};            // own candidacy waits
  bool claiming = false;           // a claim of ours is under way
  bool refused = false;            // our coordinator refused the journal: never claim again
  int crashes = 0;                 // of our coordinators in a row
};

struct ReadDirectory {};
struct TryClaim {
  std::int64_t term = 0;
};
/// Another leader: connect to it.
struct FollowLeader {
  Claim leader;
};
/// The run is over.
struct SeeEnd {
  RunEnd end;
};
using ElectionStep = std::variant<std::monostate, ReadDirectory, TryClaim, FollowLeader, SeeEnd>;

/// A message of the leader of `term` came. False: it is deposed, drop the message.
bool hear_leader(ElectionState& state, std::int64_t term, Instant now);

/// Time passed. `leading`: our own coordinator holds the highest term we know.
ElectionStep elect_on_tick(ElectionState& state, Instant now, bool leading,
                           const ElectionOptions& options);

/// The directory was read. `roster`: our place among the candidates.
ElectionStep elect_on_read(ElectionState& state, const Claims& claims, Instant now, bool leading,
                           int roster, const ElectionOptions& options);

/// Our claim was decided. True: we hold `term`, start the coordinator.
bool elect_on_claim(ElectionState& state, std::int64_t term, bool won, Instant now);

}  // namespace weft::runtime
