#include "comm/tcp/tcp_handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <cstring>

#include "base/check.h"

namespace weft::comm {
namespace {

TcpDigest random_digest() {
  TcpDigest digest;
  WEFT_CHECK(::RAND_bytes(reinterpret_cast<unsigned char*>(digest.data()),
                          static_cast<int>(digest.size())) == 1,
             "the system has no random numbers");
  return digest;
}

/// Of all that both have said; the proofs themselves are not part of it.
TcpDigest sign(const TcpIdentity& self, std::string_view role, const TcpHello& hello,
               const TcpAnswer& answer) {
  TcpAnswer said = answer;
  said.proof = {};
  std::array<unsigned char, 16 + sizeof hello + sizeof said> text{};
  std::memcpy(text.data(), role.data(), role.size());
  std::memcpy(text.data() + 16, &hello, sizeof hello);
  std::memcpy(text.data() + 16 + sizeof hello, &said, sizeof said);
  TcpDigest digest;
  unsigned int length = 0;
  WEFT_CHECK(
      ::HMAC(::EVP_sha256(), self.secret.data(), static_cast<int>(self.secret.size()), text.data(),
             text.size(), reinterpret_cast<unsigned char*>(digest.data()), &length) != nullptr &&
          length == digest.size(),
      "OpenSSL has no HMAC-SHA256");
  return digest;
}

bool same(const TcpDigest& a, const TcpDigest& b) {
  return ::CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

TcpVerdict judge(const TcpIdentity& self, const TcpHello& hello) {
  if (!same(hello.run, self.run)) return TcpVerdict::other_run;
  if (hello.generation != self.generation) return TcpVerdict::other_generation;
  const bool ranks = hello.to == self.rank && hello.from >= 0 && hello.from < self.rank;
  return ranks ? TcpVerdict::welcome : TcpVerdict::wrong_rank;
}

}  // namespace

TcpSecret draw_tcp_secret() { return random_digest(); }

TcpDigest run_digest(std::string_view run) {
  TcpDigest digest;
  unsigned int length = 0;
  WEFT_CHECK(::EVP_Digest(run.data(), run.size(), reinterpret_cast<unsigned char*>(digest.data()),
                          &length, ::EVP_sha256(), nullptr) == 1,
             "OpenSSL has no SHA-256");
  return digest;
}

TcpHello make_hello(const TcpIdentity& self, int to) {
  TcpHello hello;
  hello.run = self.run;
  hello.generation = self.generation;
  hello.from = self.rank;
  hello.to = to;
  hello.nonce = random_digest();
  return hello;
}

Expected<TcpAnswer> make_answer(const TcpIdentity& self, const TcpHello& hello) {
  if (hello.magic != TcpHello::kMagic)
    return fail(Code::Corrupt, "what connected does not speak this protocol");
  TcpAnswer answer;
  answer.verdict = judge(self, hello);
  answer.generation = self.generation;
  answer.nonce = random_digest();
  answer.proof = sign(self, "weft accepts", hello, answer);
  return answer;
}

Expected<void> check_answer(const TcpIdentity& self, const TcpHello& hello,
                            const TcpAnswer& answer) {
  if (answer.magic != TcpHello::kMagic)
    return fail(Code::Corrupt, "what listens there does not speak this protocol");
  if (!same(answer.proof, sign(self, "weft accepts", hello, answer)))
    return fail(Code::Corrupt, "what listens there does not know this world's secret");
  switch (answer.verdict) {
    case TcpVerdict::welcome:
      return {};
    case TcpVerdict::other_run:
      return fail(Code::Unavailable, "it is of another run");
    case TcpVerdict::other_generation:
      return fail(Code::Unavailable, "it is of generation " + std::to_string(answer.generation) +
                                         ", this rank of " + std::to_string(self.generation));
    case TcpVerdict::wrong_rank:
      return fail(Code::Unavailable, "it is another rank than the table of addresses says");
  }
  return fail(Code::Corrupt, "it gives an answer that this build does not know");
}

TcpDigest make_proof(const TcpIdentity& self, const TcpHello& hello, const TcpAnswer& answer) {
  return sign(self, "weft connects", hello, answer);
}

Expected<void> check_proof(const TcpIdentity& self, const TcpHello& hello, const TcpAnswer& answer,
                           const TcpDigest& proof) {
  if (same(proof, sign(self, "weft connects", hello, answer))) return {};
  return fail(Code::Corrupt, "what connected does not know this world's secret");
}

}  // namespace weft::comm
