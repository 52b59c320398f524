#include "dualpipe/schedule.h"

#include <array>
#include <utility>

#include "base/text.h"
#include "dualpipe/generators.h"

namespace weft::dualpipe {
namespace {

constexpr std::array<std::pair<Kind, std::string_view>, 7> kKinds = {{
    {Kind::GPipe, "gpipe"},
    {Kind::OneFOneB, "1f1b"},
    {Kind::Interleaved, "interleaved"},
    {Kind::ZeroBubble, "zb1p"},
    {Kind::ZBV, "zbv"},
    {Kind::DualPipe, "dualpipe"},
    {Kind::DualPipeV, "dualpipev"},
}};

}  // namespace

std::string_view to_string(Kind kind) {
  for (const auto& [value, name] : kKinds) {
    if (value == kind) return name;
  }
  return "?";
}

Expected<Kind> parse_kind(std::string_view text) {
  std::vector<std::string> names;
  for (const auto& [value, name] : kKinds) {
    if (name == text) return value;
    names.emplace_back(name);
  }
  const std::string near = closest(text, names);
  return fail(Code::InvalidArgument,
              "no schedule is called '" + std::string(text) + "'" +
                  (near.empty() ? std::string(".") : "; did you mean '" + near + "'?") +
                  " Known are " + join(names, ", ") + ".");
}

std::string_view to_string(Op op) {
  switch (op) {
    case Op::F:
      return "F";
    case Op::B:
      return "B";
    case Op::BI:
      return "BI";
    case Op::W:
      return "W";
    case Op::FB:
      return "FB";
    case Op::SendF:
      return "SendF";
    case Op::RecvF:
      return "RecvF";
    case Op::SendB:
      return "SendB";
    case Op::RecvB:
      return "RecvB";
    case Op::Reduce:
      return "Reduce";
    case Op::Update:
      return "Update";
    case Op::Snapshot:
      return "Snapshot";
  }
  return "?";
}

Schedule empty_schedule(Kind kind, const Size& size) {
  Schedule schedule;
  schedule.kind = kind;
  schedule.ranks = size.ranks;
  schedule.micro_batches = size.micro_batches;
  schedule.chunks = kind == Kind::Interleaved ? size.chunks : 1;
  schedule.programs.resize(static_cast<std::size_t>(size.ranks));
  return schedule;
}

Expected<Schedule> generate(Kind kind, const Size& size) {
  WEFT_TRY(check_size(kind, size));
  switch (kind) {
    case Kind::GPipe:
      return make_gpipe(size);
    case Kind::OneFOneB:
      return make_one_f_one_b(size);
    case Kind::Interleaved:
      return make_interleaved(size);
    case Kind::ZeroBubble:
      return make_zero_bubble(size);
    case Kind::ZBV:
      return make_zbv(size);
    case Kind::DualPipe:
      return make_dualpipe(size);
    case Kind::DualPipeV:
      return make_dualpipev(size);
  }
  return fail(Code::Internal, "generate: a kind of schedule without a generator");
}

}  // namespace weft::dualpipe
