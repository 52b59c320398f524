#include "trainer/checkpoint/hash.h"

#define XXH_STATIC_LINKING_ONLY  // the state by value, so that it needs no C allocation of its own
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // the same hash with the widest registers that the processor has
#endif

#include <array>

namespace weft::trainer::checkpoint {
namespace {

Hash128 from(XXH128_hash_t hash) { return {hash.high64, hash.low64}; }

}  // namespace

struct Hasher::State {
  XXH3_state_t xxh;
};

Hasher::Hasher() : state_(std::make_unique<State>()) { reset(); }
Hasher::~Hasher() = default;

void Hasher::reset() { XXH3_128bits_reset(&state_->xxh); }

void Hasher::add(std::span<const std::byte> bytes) {
  if (!bytes.empty()) XXH3_128bits_update(&state_->xxh, bytes.data(), bytes.size());
}

Hash128 Hasher::digest() const { return from(XXH3_128bits_digest(&state_->xxh)); }

Hash128 hash_of(std::span<const std::byte> bytes) {
  return from(XXH3_128bits(bytes.data(), bytes.size()));
}

Hash128 hash_of(std::string_view text) { return from(XXH3_128bits(text.data(), text.size())); }

std::string to_hex(const Hash128& hash) {
  std::string out(32, '0');
  for (std::size_t i = 0; i < 32; ++i)
    out[i] = "0123456789abcdef"[(i < 16 ? hash.high : hash.low) >> (60 - 4 * (i % 16)) & 15];
  return out;
}

Expected<Hash128> parse_hash(std::string_view text) {
  const auto bad = [&] {
    return fail(Code::Corrupt, "a checksum must be 32 lower-case hexadecimal digits, not '" +
                                   std::string(text.substr(0, 40)) + "'");
  };
  if (text.size() != 32) return bad();
  std::array<std::uint64_t, 2> half{};
  for (std::size_t i = 0; i < 32; ++i) {
    const char c = text[i];
    const bool digit = c >= '0' && c <= '9', letter = c >= 'a' && c <= 'f';
    if (!digit && !letter) return bad();
    half[i / 16] = half[i / 16] << 4 | static_cast<std::uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return Hash128{half[0], half[1]};
}

}  // namespace weft::trainer::checkpoint
