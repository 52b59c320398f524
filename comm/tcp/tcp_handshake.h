// How two ranks that have just been connected prove to each other that they belong together, before
// either believes anything: a challenge each way under HMAC-SHA256 (OpenSSL's). Pure; messages are
// of fixed size. Internal to comm/tcp.
//
//   connector: Hello (run, generation, from, to, nonce)
//   acceptor:  Answer (verdict, its generation, nonce, HMAC of "accepts", Hello and Answer)
//   connector: Proof (HMAC of "connects", Hello and Answer)
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/expected.h"
#include "comm/tcp/tcp_world.h"

namespace weft::comm {

using TcpDigest = std::array<std::byte, 32>;

struct TcpHello {
  std::uint64_t magic = kMagic;
  TcpDigest run{};  // SHA-256 of its name
  std::uint64_t generation = 0;
  std::int32_t from = 0, to = 0;
  TcpDigest nonce{};

  static constexpr std::uint64_t kMagic = 0x31706374'74666577;  // "wefttcp1": version 1
};
static_assert(sizeof(TcpHello) == 88);

enum class TcpVerdict : std::uint64_t { welcome = 1, other_run, other_generation, wrong_rank };

struct TcpAnswer {
  std::uint64_t magic = TcpHello::kMagic;
  TcpVerdict verdict = TcpVerdict::welcome;
  std::uint64_t generation = 0;  // the acceptor's
  TcpDigest nonce{};
  TcpDigest proof{};
};
static_assert(sizeof(TcpAnswer) == 88);

TcpDigest run_digest(std::string_view run);

/// What this rank is; what it expects of the other.
struct TcpIdentity {
  TcpSecret secret{};
  TcpDigest run{};
  std::uint64_t generation = 0;
  int rank = 0, world_size = 0;
};

TcpHello make_hello(const TcpIdentity& self, int to);
/// What the acceptor says. `hello` is only a claim. Errors: Corrupt, when it is no hello.
Expected<TcpAnswer> make_answer(const TcpIdentity& self, const TcpHello& hello);
/// Errors: Corrupt (no answer, or one from somebody who does not know the secret), Unavailable
/// (the acceptor refuses).
Expected<void> check_answer(const TcpIdentity& self, const TcpHello& hello,
                            const TcpAnswer& answer);
TcpDigest make_proof(const TcpIdentity& self, const TcpHello& hello, const TcpAnswer& answer);
/// Errors: Corrupt, when the connector does not know the secret.
Expected<void> check_proof(const TcpIdentity& self, const TcpHello& hello, const TcpAnswer& answer,
                           const TcpDigest& proof);

}  // namespace weft::comm
