// A measured step drawn: the compute lane with everything that the rank's one thread did, and what
// went on beside it.
#include <algorithm>
#include <map>
#include <tuple>

#include "base/units.h"
#include "dualpipe/chrome_writer.h"
#include "dualpipe/flow.h"
#include "dualpipe/measured.h"
#include "dualpipe/messages_matched.h"
#include "dualpipe/stage.h"
#include "dualpipe/trace.h"

namespace weft::dualpipe {
namespace {

using What = Record::What;

constexpr int kComputeTrack = 0;
/// Tracks of one kind start here, so that more of them find room side by side.
constexpr int kExchangeForward = 10, kExchangeBackward = 20, kSends = 30, kReceives = 100;
/// Predicted processes come after all measured ones.
constexpr int kPredicted = 1'000'000;

Chunk chunk_of(const Record& r) { return {r.direction, r.stage, r.micro_batch}; }

Action action_of(const Record& r) {
  return {static_cast<Op>(r.op),
          chunk_of(r),
          {r.other_direction, r.other_stage, r.other_micro_batch},
          r.peer};
}

std::string phase_name(const Record& r) {
  const auto part = static_cast<Part>(r.part);
  return std::string(to_string(static_cast<PhaseKind>(r.phase))) + (!r.backward             ? "(F)"
                                                                    : part == Part::Weights ? "(W)"
                                                                    : part == Part::Again   ? "(A)"
                                                                                          : "(B)");
}

std::string name_of(const Record& r) {
  switch (r.what) {
    case What::Pass:
      return std::string(to_string(r.program)) + " pass " + std::to_string(r.pass);
    case What::Action:
      return describe(action_of(r));
    case What::Phase:
    case What::Exchange:
      return phase_name(r) + " layer " + std::to_string(r.layer);
    case What::Send:
    case What::Receive:
      return describe(action_of(r));
    default:
      return std::string(to_string(r.what));
  }
}

Arguments arguments_of(const Record& r) {
  Arguments arguments;
  const auto add = [&](std::string_view key, std::int64_t value) {
    arguments.push_back({key, value});
  };
  const Op op = static_cast<Op>(r.op);
  const bool chunk = r.what == What::Phase || r.what == What::Exchange || r.what == What::Send ||
                     r.what == What::Receive || (r.what == What::Action && is_compute(op));
  if (chunk) {
    add("micro_batch", r.micro_batch);
    add("direction", r.direction);
    add("stage", r.stage);
  }
  if (r.what == What::Action && op == Op::FB) {
    add("backward_micro_batch", r.other_micro_batch);
    add("backward_direction", r.other_direction);
    add("backward_stage", r.other_stage);
  }
  if (r.what == What::Phase || r.what == What::Exchange) add("layer", r.layer);
  if (r.what == What::Send || r.what == What::Receive) add("peer", r.peer);
  if (r.what == What::Send || r.what == What::Receive || (r.what == What::Exchange && r.bytes > 0))
    add("bytes", static_cast<std::int64_t>(std::min(r.bytes, std::uint64_t{1} << 62)));
  if (r.tail_ns > 0) arguments.push_back({"waited_us", static_cast<double>(r.tail_ns) / 1000});
  if (r.action >= 0) add("action", r.action);
  return arguments;
}

/// A slice of the compute lane: a record, or the head or tail of what goes on beside it.
struct Piece {
  std::int64_t begin_ns, end_ns;
  std::string name;
  std::string_view category;
  Arguments arguments;
};

class RankTrace {
 public:
  RankTrace(ChromeWriter& writer, const RankStep& rank, std::int64_t origin_ns)
      : writer_(writer), rank_(rank), origin_(origin_ns) {}

  void write() {
    const RingInfo& info = rank_.info;
    writer_.process(info.rank, "rank " + std::to_string(info.rank) + " (position " +
                                   std::to_string(info.position) + ", replica " +
                                   std::to_string(info.lane) + ")");
    writer_.track(info.rank, kComputeTrack, "compute");
    compute_lane();
    side(kExchangeForward, "exchange forward",
         [](const Record& r) { return r.what == What::Exchange && r.backward == 0; });
    side(kExchangeBackward, "exchange backward",
         [](const Record& r) { return r.what == What::Exchange && r.backward != 0; });
    side(kSends, "sends", [](const Record& r) { return r.what == What::Send; });
    side(kReceives, "receives", [](const Record& r) { return r.what == What::Receive; });
    if (!rank_.recorded.closed) standing();
  }

 private:
  /// One thread did all of it, so pieces nest or are apart. A damaged file may say otherwise: what
  /// would cross the slice around it is cut there, so that every viewer can show the rest.
  void compute_lane() {
    std::vector<Piece> pieces;
    const RecordedStep& step = rank_.recorded;
    pieces.push_back({step.begin_ns,
                      step.end_ns,
                      "step " + std::to_string(step.step) + " (" + step.stage + ")" +
                          (step.closed ? "" : ", not ended"),
                      "step",
                      {{"records", static_cast<std::int64_t>(step.records.size())},
                       {"missing", static_cast<std::int64_t>(step.missing)}}});
    for (const Record& r : step.records) add_pieces(pieces, r);
    std::ranges::stable_sort(pieces, [](const Piece& a, const Piece& b) {
      return std::pair(a.begin_ns, -a.end_ns) < std::pair(b.begin_ns, -b.end_ns);
    });
    std::vector<std::int64_t> open;  // ends of the slices around
    for (Piece& piece : pieces) {
      while (!open.empty() && open.back() <= piece.begin_ns) open.pop_back();
      if (!open.empty()) piece.end_ns = std::min(piece.end_ns, open.back());
      open.push_back(piece.end_ns);
      write_slice(kComputeTrack, piece.name, piece.category, piece.begin_ns, piece.end_ns,
                  piece.arguments);
    }
  }

  static void add_pieces(std::vector<Piece>& pieces, const Record& r) {
    const bool aside = r.what == What::Exchange || r.what == What::Send || r.what == What::Receive;
    if (!aside) {
      pieces.push_back({r.begin_ns, r.end_ns, name_of(r), to_string(r.what), arguments_of(r)});
      return;
    }
    const bool exchange = r.what == What::Exchange;
    const char* head = exchange ? "begin " : "post ";
    const char* tail = exchange ? "finish " : "wait ";
    if (r.what != What::Receive)  // posting a receive is not worth a slice
      pieces.push_back(
          {r.begin_ns, r.begin_ns + r.head_ns, head + name_of(r), "post", arguments_of(r)});
    pieces.push_back({r.end_ns - r.tail_ns, r.end_ns, tail + name_of(r), "wait", arguments_of(r)});
  }

  template <class Wanted>
  void side(int first_track, const std::string& name, Wanted wanted) {
    std::vector<const Record*> records;
    for (const Record& r : rank_.recorded.records)
      if (wanted(r)) records.push_back(&r);
    std::ranges::stable_sort(records, {}, &Record::begin_ns);
    SideBySide tracks;
    for (const Record* r : records)
      write_slice(first_track + tracks.place(r->begin_ns, r->end_ns), name_of(*r),
                  to_string(r->what), r->begin_ns, r->end_ns, arguments_of(*r));
    for (int i = 0; i < tracks.tracks(); ++i)
      writer_.track(rank_.info.rank, first_track + i,
                    i == 0 ? name : name + " " + std::to_string(i + 1));
  }

  void standing() {
    const std::string where = "here: " + describe(rank_.here);
    const std::int64_t at = std::max(rank_.recorded.begin_ns, rank_.recorded.end_ns);
    writer_.instant(
        {rank_.info.rank, kComputeTrack, where, "here", at - origin_, at - origin_},
        {{"peer", std::int64_t{rank_.here.peer}}, {"action", std::int64_t{rank_.here.action}}});
  }

  void write_slice(int track, std::string_view name, std::string_view category,
                   std::int64_t begin_ns, std::int64_t end_ns, const Arguments& arguments) {
    writer_.slice({rank_.info.rank, track, name, category, begin_ns - origin_, end_ns - origin_},
                  arguments);
  }

  ChromeWriter& writer_;
  const RankStep& rank_;
  std::int64_t origin_;
};

/// When the pass that was predicted began, over the ranks.
std::int64_t begin_of_pass(const MeasuredStep& step) {
  const int pass = training_pass(step);
  std::int64_t begin = step.end_ns;
  for (const RankStep& rank : step.ranks)
    for (const Record& record : rank.recorded.records)
      if (record.what == What::Action && record.pass == pass &&
          is_compute(static_cast<Op>(record.op)))
        begin = std::min(begin, record.begin_ns);
  return begin;
}

}  // namespace

std::string to_chrome_trace(const MeasuredStep& step, const Prediction* prediction) {
  ChromeWriter writer;
  const std::int64_t origin = step.begin_ns;
  for (const RankStep& rank : step.ranks) RankTrace(writer, rank, origin).write();
  for (const MatchedMessage& message : matched_messages(step))
    // From inside the posting slice to inside the waiting one.
    writer.arrow(message.from->info.rank, kComputeTrack,
                 message.send->begin_ns + message.send->head_ns / 2 - origin, message.to->info.rank,
                 kComputeTrack,
                 message.receive->end_ns - (message.receive->tail_ns + 1) / 2 - origin);
  if (prediction != nullptr)
    write_predicted(writer, prediction->schedule, prediction->times, 1, "predicted position",
                    kPredicted, begin_of_pass(step) - origin);
  const WallTime wall{std::chrono::nanoseconds(step.begin_wall_ns)};
  const std::string begun = format_time(wall);
  return writer.finish({{"step", std::int64_t{step.step}},
                        {"stage", step.stage},
                        {"schedule", to_string(step.kind)},
                        {"ranks", std::int64_t{step.size.ranks}},
                        {"micro_batches", std::int64_t{step.size.micro_batches}},
                        {"begun", begun},
                        {"closed", std::string_view(step.closed ? "yes" : "no")},
                        {"predicted", prediction != nullptr ? std::string_view(prediction->basis)
                                                            : std::string_view("not")}});
}

}  // namespace weft::dualpipe
