#include "tests/fuzz/kept_inputs.h"

#include <charconv>

#include "base/files.h"

namespace weft::fuzz {

std::string escaped(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string line;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '\\')
      line += c;
    else
      (line += "\\x") += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return line;
}

Expected<std::string> unescaped(std::string_view line) {
  std::string bytes;
  for (std::size_t at = 0; at < line.size(); ++at) {
    if (line[at] != '\\') {
      bytes += line[at];
      continue;
    }
    unsigned byte = 0;
    const char* const digits = line.data() + at + 2;
    if (line.size() < at + 4 || line[at + 1] != 'x' ||
        std::from_chars(digits, digits + 2, byte, 16).ptr != digits + 2)
      return fail(Code::InvalidArgument, "column " + std::to_string(at + 1) +
                                             ": a backslash begins \\xHH and nothing else");
    bytes += static_cast<char>(byte);
    at += 3;
  }
  return bytes;
}

Expected<std::vector<std::string>> kept_inputs(const std::string& path) {
  WEFT_TRY_ASSIGN(const std::string text, read_file(path));
  std::vector<std::string> inputs;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    auto input = unescaped(std::string_view(text).substr(begin, end - begin));
    if (!input)
      return fail(Code::InvalidArgument,
                  path + ":" + std::to_string(inputs.size() + 1) + ": " + input.error().message);
    inputs.push_back(std::move(*input));
    begin = end + 1;
  }
  return inputs;
}

}  // namespace weft::fuzz
