#include <nlohmann/json.hpp>

#include "dualpipe/check.h"
#include "dualpipe/flow.h"
#include "dualpipe/text.h"

namespace weft::dualpipe {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const Chunk& chunk) {
  return {{"dir", chunk.direction}, {"stage", chunk.stage}, {"mb", chunk.micro_batch}};
}

Json to_json(const Action& action) {
  Json json = {{"op", to_string(action.op)}};
  if (action.op == Op::FB) {
    json["f"] = to_json(action.chunk);
    json["b"] = to_json(action.other);
  } else if (action.op == Op::Reduce) {
    json["stage"] = action.chunk.stage;
  } else if (action.op != Op::Update && action.op != Op::Snapshot) {
    json.update(to_json(action.chunk));
  }
  if (is_message(action.op)) json["peer"] = action.peer;
  return json;
}

}  // namespace

Expected<std::string> to_json(const Schedule& schedule, const Costs& costs) {
  WEFT_TRY_ASSIGN(const Timeline times, timeline(schedule, costs));
  Json json = {{"schema", "weft.schedule/v1"},
               {"kind", to_string(schedule.kind)},
               {"ranks", schedule.ranks},
               {"micro_batches", schedule.micro_batches}};
  if (schedule.kind == Kind::Interleaved) json["chunks"] = schedule.chunks;
  json["programs"] = Json::array();
  for (const auto& program : schedule.programs) {
    Json actions = Json::array();
    for (const Action& action : program) actions.push_back(to_json(action));
    json["programs"].push_back(std::move(actions));
  }
  json["makespan"] = times.makespan;
  json["bubble"] = times.bubble;
  json["peak_activations"] = peak_activations(schedule);
  return json.dump();
}

}  // namespace weft::dualpipe
