#include "trainer/tokenizer/pre_tokenizer.h"

#include <string>

namespace weft::trainer::tokenizer {
namespace {

/// A part of the text, and whether the pattern matched it.
struct Part {
  std::size_t begin = 0, end = 0;
  bool match = false;
};

/// Calls `visit` with matches and with what lies between them, in order; none is empty.
template <class Visit>
void for_each_part(const Split& split, std::string_view text, Visit visit) {
  std::size_t done = 0, from = 0, begin = 0, end = 0;
  while (from < text.size() && split.pattern.find(text, from, begin, end)) {
    if (end == begin) {  // empty matches cut nothing
      from = end + 1;
      while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xc0) == 0x80) ++from;
      continue;
    }
    if (begin > done) visit(Part{done, begin, split.invert});
    visit(Part{begin, end, !split.invert});
    done = from = end;
  }
  if (done < text.size()) visit(Part{done, text.size(), split.invert});
}

/// Joins parts of the kinds of behaviour that look at a neighbour.
std::vector<Part> joined(const Split& split, std::string_view text) {
  std::vector<Part> parts;
  bool next_takes = false;  // the last part is a match that waits for what follows
  bool last_matched = false;
  for_each_part(split, text, [&](Part part) {
    bool join = false;
    switch (split.behavior) {
      case Behavior::MergedWithPrevious:
        join = part.match && !last_matched && !parts.empty();
        break;
      case Behavior::MergedWithNext:
        join = next_takes && !part.match;
        break;
      case Behavior::Contiguous:
        join = !parts.empty() && part.match == last_matched;
        break;
      default:
        break;
    }
    last_matched = next_takes = part.match;
    if (join)
      parts.back().end = part.end;
    else
      parts.push_back(part);
  });
  return parts;
}

}  // namespace

void PreTokenizer::run(std::size_t step, std::string_view text, const Sink& sink) const {
  if (step == steps_.size()) {
    if (!text.empty()) sink(text);
    return;
  }
  const auto next = [&](Part part) {
    run(step + 1, text.substr(part.begin, part.end - part.begin), sink);
  };
  if (steps_[step].kind == Step::PrefixSpace) {
    if (text.empty() || text.front() == ' ') return run(step + 1, text, sink);
    return run(step + 1, " " + std::string(text), sink);
  }
  const tokenizer::Split& split = steps_[step].split.front();
  if (split.behavior == Behavior::Isolated || split.behavior == Behavior::Removed) {
    const bool removed = split.behavior == Behavior::Removed;
    for_each_part(split, text, [&](Part part) {
      if (!(removed && part.match)) next(part);
    });
    return;
  }
  for (const Part& part : joined(split, text)) next(part);
}

}  // namespace weft::trainer::tokenizer
