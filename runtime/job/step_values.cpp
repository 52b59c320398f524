#include <algorithm>
#include <charconv>
#include <sstream>

#include "runtime/job/job.h"

namespace weft::runtime {
namespace {

template <class Number>
bool read_all(std::string_view word, Number& number) {
  const auto [end, failed] = std::from_chars(word.data(), word.data() + word.size(), number);
  return failed == std::errc() && end == word.data() + word.size();
}

}  // namespace

double StepValues::at(long long step) const {
  double value = 0;
  for (const From& from : values)
    if (from.step <= step) value = from.value;
  return value;
}

Expected<StepValues> parse_step_values(const std::string& text) {
  StepValues result;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const auto refuse = [&](const std::string& why) {
      return fail(Code::InvalidArgument, "'" + word + "' " + why);
    };
    const bool first = result.values.empty();
    const std::size_t colon = word.find(':');
    StepValues::From from;
    if (first != (colon == std::string::npos))
      return refuse(first ? "has a step: the first value holds from the start"
                          : "has no step; write step:value");
    if (!first && !read_all(std::string_view(word).substr(0, colon), from.step))
      return refuse("does not begin with a step");
    if (!read_all(std::string_view(word).substr(first ? 0 : colon + 1), from.value) ||
        !(from.value >= 0 && from.value <= 1000))
      return refuse(first ? "is not a number from 0 to 1000"
                          : "does not end with a number from 0 to 1000");
    if (!first && from.step <= result.values.back().step)
      return refuse("comes after a step that is not before it");
    result.values.push_back(from);
  }
  if (result.values.empty())
    return fail(Code::InvalidArgument, "there is no number; 0 means never");
  return result;
}

}  // namespace weft::runtime
