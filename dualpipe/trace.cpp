#include "dualpipe/trace.h"

#include <nlohmann/json.hpp>

#include "dualpipe/flow.h"

namespace weft::dualpipe {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kComputeTrack = 0, kCommunicationTrack = 1;

Json named(const char* what, int rank, int track, const std::string& name) {
  return {{"name", what}, {"ph", "M"}, {"pid", rank}, {"tid", track}, {"args", {{"name", name}}}};
}

Json arguments(const Chunk& chunk) {
  return {
      {"direction", chunk.direction}, {"stage", chunk.stage}, {"micro_batch", chunk.micro_batch}};
}

Json compute_event(const Action& action, int rank, double begin_us, double duration_us) {
  Json args = arguments(action.chunk);
  if (action.op == Op::FB) args["backward"] = arguments(action.other);
  return {{"name", describe(action)},
          {"cat", to_string(action.op)},
          {"ph", "X"},
          {"pid", rank},
          {"tid", kComputeTrack},
          {"ts", begin_us},
          {"dur", duration_us},
          {"args", std::move(args)}};
}

}  // namespace

std::string to_chrome_trace(const Schedule& schedule, const Timeline& times, double unit_us) {
  Json events = Json::array();
  for (int rank = 0; rank < schedule.ranks; ++rank) {
    events.push_back(named("process_name", rank, kComputeTrack, "rank " + std::to_string(rank)));
    events.push_back(named("thread_name", rank, kComputeTrack, "compute"));
    events.push_back(named("thread_name", rank, kCommunicationTrack, "communication"));
    for (std::size_t i = 0; i < schedule.programs[rank].size(); ++i) {
      const Action& action = schedule.programs[rank][i];
      const Slot& slot = times.slots[rank][i];
      if (is_compute(action.op) && slot.ran)
        events.push_back(
            compute_event(action, rank, slot.begin * unit_us, (slot.end - slot.begin) * unit_us));
    }
  }
  int flow = 0;
  for (const Transfer& transfer : times.transfers) {
    const double begin = transfer.begin * unit_us, end = transfer.end * unit_us;
    Json args = arguments(transfer.chunk);
    args["peer"] = transfer.to;
    const std::string name = std::string(to_string(transfer.op)) + " " + describe(transfer.chunk);
    // Messages in flight overlap, so they are asynchronous events; the arrow leaves the slice that
    // made the message, just before its end.
    events.push_back({{"name", name},
                      {"cat", "message"},
                      {"ph", "b"},
                      {"id", flow},
                      {"pid", transfer.from},
                      {"tid", kCommunicationTrack},
                      {"ts", begin},
                      {"args", std::move(args)}});
    events.push_back({{"name", name},
                      {"cat", "message"},
                      {"ph", "e"},
                      {"id", flow},
                      {"pid", transfer.from},
                      {"tid", kCommunicationTrack},
                      {"ts", end}});
    events.push_back({{"name", "message"},
                      {"cat", "arrow"},
                      {"ph", "s"},
                      {"id", flow},
                      {"pid", transfer.from},
                      {"tid", kComputeTrack},
                      {"ts", begin - 1e-3}});
    events.push_back({{"name", "message"},
                      {"cat", "arrow"},
                      {"ph", "f"},
                      {"bp", "e"},
                      {"id", flow},
                      {"pid", transfer.to},
                      {"tid", kComputeTrack},
                      {"ts", end}});
    ++flow;
  }
  return Json{{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}}.dump();
}

}  // namespace weft::dualpipe
