#define PCRE2_CODE_UNIT_WIDTH 8
#include "trainer/tokenizer/regex.h"

#include <pcre2.h>

#include <array>
#include <new>

#include "base/check.h"

namespace weft::trainer::tokenizer {
namespace {

constexpr std::size_t kPatternBytesMax = 64 << 10;
constexpr std::size_t kJitStackBytes = 32 << 10, kJitStackBytesMax = 4 << 20;
constexpr std::uint32_t kMatchSteps = 20'000'000;
constexpr std::uint32_t kHeapKibibytes = 64 << 10;

/// What a thread needs for matching: room for one match, and a stack for the JIT's code.
struct Scratch {
  Scratch()
      : match(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(kJitStackBytes, kJitStackBytesMax, nullptr)) {
    WEFT_CHECK(match != nullptr && context != nullptr, "out of memory");
    pcre2_set_match_limit(context, kMatchSteps);
    pcre2_set_heap_limit(context, kHeapKibibytes);
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Scratch() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(match);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  pcre2_match_data* match;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

Scratch& scratch() {
  thread_local Scratch mine;
  return mine;
}

std::string reason(int code) {
  std::array<unsigned char, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

Expected<Regex> Regex::compile(std::string_view pattern) {
  if (pattern.empty() || pattern.size() > kPatternBytesMax)
    return fail(Code::InvalidArgument, "the pattern has " + std::to_string(pattern.size()) +
                                           " bytes; 1 to " + std::to_string(kPatternBytesMax) +
                                           " are read");
  WEFT_TRY_ASSIGN(const std::string translated, to_pcre2(pattern));
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  WEFT_CHECK(context != nullptr, "out of memory");
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  int error = 0;
  std::size_t offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (code == nullptr)
    return fail(Code::InvalidArgument, "the pattern does not compile: " + reason(error) +
                                           " before '" + translated.substr(offset, 24) + "'");
  Regex regex;
  regex.code_.reset(code, [](pcre2_code* c) { pcre2_code_free(c); });
  regex.jit_ = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;
  return regex;
}

bool Regex::find(std::string_view text, std::size_t from, std::size_t& begin,
                 std::size_t& end) const {
  Scratch& mine = scratch();
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  int found = PCRE2_ERROR_JIT_STACKLIMIT;
  if (jit_)
    found = pcre2_jit_match(code_.get(), subject, text.size(), from, 0, mine.match, mine.context);
  if (found == PCRE2_ERROR_JIT_STACKLIMIT)
    found = pcre2_match(code_.get(), subject, text.size(), from,
                        PCRE2_NO_UTF_CHECK | (jit_ ? PCRE2_NO_JIT : 0), mine.match, mine.context);
  if (found < 0) return false;
  const std::size_t* ends = pcre2_get_ovector_pointer(mine.match);
  begin = ends[0];
  end = ends[1];
  return true;
}

}  // namespace weft::trainer::tokenizer
