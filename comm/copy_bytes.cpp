#include "comm/copy_bytes.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace weft::comm {

void copy_bytes(std::byte* to, const std::byte* from, std::size_t n) {
  if (n > 0) std::memcpy(to, from, n);
}

#if defined(__x86_64__)

void stream_bytes(std::byte* to, const std::byte* from, std::size_t n) {
  constexpr std::size_t kLine = 64;
  const std::size_t head =
      std::min(n, (kLine - reinterpret_cast<std::uintptr_t>(to) % kLine) % kLine);
  copy_bytes(to, from, head);
  to += head, from += head, n -= head;
  for (; n >= kLine;
       to += kLine, from += kLine, n -= kLine) {  // a whole line, or it is read after all
#if defined(__AVX__)
    const auto* const source = reinterpret_cast<const __m256i*>(from);
    auto* const target = reinterpret_cast<__m256i*>(to);
    const __m256i a = _mm256_loadu_si256(source), b = _mm256_loadu_si256(source + 1);
    _mm256_stream_si256(target, a);
    _mm256_stream_si256(target + 1, b);
#else
    const auto* const source = reinterpret_cast<const __m128i*>(from);
    auto* const target = reinterpret_cast<__m128i*>(to);
    for (int i = 0; i < 4; ++i) _mm_stream_si128(target + i, _mm_loadu_si128(source + i));
#endif
  }
  _mm_sfence();  // such stores are ordered with nothing else
  copy_bytes(to, from, n);
}

#else

void stream_bytes(std::byte* to, const std::byte* from, std::size_t n) { copy_bytes(to, from, n); }

#endif

}  // namespace weft::comm
