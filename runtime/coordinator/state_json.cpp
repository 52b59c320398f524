#include "runtime/coordinator/state_json.h"

#include <algorithm>

#include "runtime/coordinator/json_fields.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr int kCodes = static_cast<int>(Code::Internal) + 1;
constexpr int kOutcomes = static_cast<int>(Outcome::Failed) + 1;
constexpr int kPhases = static_cast<int>(RunPhase::Ended) + 1;
constexpr int kKinds = static_cast<int>(Cause::Kind::WorkerDied) + 1;

std::int64_t relative(Instant then, Instant now) { return (then - now).count(); }

json put_cause(const Cause& cause) {
  return {{"kind", to_string(cause.kind)},
          {"rank", cause.rank},
          {"node", cause.node},
          {"code", to_string(cause.code)},
          {"text", cause.text}};
}

json put_node(const Node& node, Instant now) {
  json blamed = json::array();
  for (const Instant then : node.blamed) blamed.push_back(relative(then, now));
  return {{"facts", put_facts(node.facts)},
          {"incarnation", node.incarnation},
          {"lost", node.lost},
          {"left", node.left},
          {"generation", node.generation},
          {"saves_asked", node.saves_asked},
          {"blamed", std::move(blamed)},
          {"why_unfit", node.why_unfit}};
}

/// Names are written once: a placement is pairs of an index and a slot.
json put_placement(const CoordinatorState& state) {
  json pairs = json::array(), names = json::array();
  std::map<std::string, int> index;
  for (const RankPlacement& place : state.placement) {
    const auto [entry, made] = index.try_emplace(place.node, static_cast<int>(names.size()));
    if (made) names.push_back(place.node);
    pairs.push_back({entry->second, place.slot});
  }
  return {{"nodes", std::move(names)}, {"ranks", std::move(pairs)}};
}

Cause get_cause(JsonFields fields) {
  Cause cause;
  cause.kind = fields.one_of<Cause::Kind>("kind", kKinds, to_string);
  cause.rank = fields.small("rank", -1);
  cause.node = fields.text("node", 4096);
  cause.code = fields.one_of<Code>("code", kCodes, weft::to_string);
  cause.text = fields.text("text");
  return cause;
}

Node get_node(JsonFields fields, Instant now) {
  Node node;
  node.facts = get_facts(fields.object("facts"));
  node.incarnation = fields.number("incarnation");
  node.lost = fields.boolean("lost");
  node.left = fields.boolean("left");
  node.generation = fields.integer("generation");
  if (fields.has("saves_asked")) node.saves_asked = fields.small("saves_asked");
  for (const json& then : fields.array("blamed", 1 << 16)) {
    constexpr std::int64_t kFar = std::int64_t{1} << 62;
    if (then.is_number_integer() && then > -kFar && then < kFar)
      node.blamed.push_back(now + Duration(then.get<std::int64_t>()));
    else
      fields.wrong("blamed", "holds something other than times");
  }
  node.why_unfit = fields.text("why_unfit");
  node.last_heard = now;
  return node;
}

void get_placement(JsonFields fields, CoordinatorState& state) {
  std::vector<std::string> names;
  for (const json& name : fields.array("nodes")) {
    if (!name.is_string() || !state.nodes.contains(name.get<std::string>()))
      return fields.wrong("nodes", "names a node that is not a member");
    names.push_back(name.get<std::string>());
  }
  const json& pairs = fields.array("ranks");
  if (!pairs.empty() && static_cast<int>(pairs.size()) != state.world)
    return fields.wrong("ranks", "does not have one entry a rank");
  for (const json& pair : pairs) {
    if (!is_index_pair(pair) || pair[0] >= names.size())
      return fields.wrong("ranks", "holds something other than pairs of a node and a slot");
    const std::string& node = names[pair[0].get<std::size_t>()];
    state.nodes[node].ranks.push_back(static_cast<int>(state.placement.size()));
    state.placement.push_back({node, pair[1].get<int>()});
  }
}

void get_generations(JsonFields& fields, CoordinatorState& state) {
  std::size_t index = 0;
  for (const json& element : fields.array("line")) {
    JsonFields entry = fields.element(element, "line", index++);
    const LineEntry made{entry.integer("generation"), entry.integer("resumed_step")};
    if (!state.line.empty() && made.generation <= state.line.back().generation)
      entry.wrong("generation", "does not ascend");
    state.line.push_back(made);
  }
  for (const json& name : fields.array("damaged")) {
    if (name.is_string())
      state.damaged.insert(name.get<std::string>());
    else
      fields.wrong("damaged", "holds something other than names");
  }
  state.generation = fields.integer("generation");
  state.claimed = fields.boolean("claimed");
  state.resume = get_checkpoint(fields, "resume");
  state.first_best_step = fields.integer("first_best_step");
  state.first_saved_step = fields.integer("first_saved_step");
  state.fruitless = fields.small("fruitless");
  state.best_step = fields.integer("best_step");
  state.saved_step = fields.integer("saved_step");
  state.abdications = fields.small("abdications");
}

void get_members(JsonFields& fields, CoordinatorState& state, Instant now) {
  std::size_t index = 0;
  for (const json& element : fields.array("nodes")) {
    JsonFields entry = fields.element(element, "nodes", index++);
    state.nodes[entry.text("name", 4096)] = get_node(entry, now);
  }
  index = 0;
  for (const json& element : fields.array("bans")) {
    JsonFields entry = fields.element(element, "bans", index++);
    Ban ban{entry.text("reason"), std::nullopt};
    if (ban.reason.empty()) entry.wrong("reason", "is empty");
    if (!entry.is_null("until")) ban.until = now + entry.duration("until");
    state.bans[entry.text("node", 4096)] = std::move(ban);
  }
  index = 0;
  for (const json& element : fields.array("spools")) {
    JsonFields entry = fields.element(element, "spools", index++);
    state.spools[{entry.text("node", 4096), entry.number("incarnation")}] = now;
  }
}

}  // namespace

json to_json(const CoordinatorState& state, Instant now) {
  json nodes = json::array(), bans = json::array(), spools = json::array(), line = json::array();
  for (const auto& [name, node] : state.nodes) {
    json object = put_node(node, now);
    object["name"] = name;
    nodes.push_back(std::move(object));
  }
  for (const auto& [node, ban] : state.bans) {
    json object = {{"node", node}, {"reason", ban.reason}, {"until", nullptr}};
    if (ban.until) object["until"] = relative(*ban.until, now);
    bans.push_back(std::move(object));
  }
  for (const auto& [spool, next] : state.spools)
    spools.push_back({{"node", spool.first}, {"incarnation", spool.second}});
  for (const LineEntry& entry : state.line)
    line.push_back({{"generation", entry.generation}, {"resumed_step", entry.resumed_step}});
  return {{"version", kJournalVersion},
          {"world", state.world},
          {"term", state.term},
          {"phase", to_string(state.phase)},
          {"deadline", relative(state.deadline, now)},
          {"phase_since", relative(state.phase_since, now)},
          {"outcome", to_string(state.outcome)},
          {"reason", state.reason},
          {"cause", put_cause(state.cause)},
          {"line", std::move(line)},
          {"damaged", state.damaged},
          {"stops_asked", state.stops_asked},
          {"pause_asked", state.pause_asked},
          {"save", {{"id", state.save.id}, {"at_step", state.save.at_step}}},
          {"saves_done", state.saves_done},
          {"swap_node", state.swap_node},
          {"fruitless", state.fruitless},
          {"best_step", state.best_step},
          {"saved_step", state.saved_step},
          {"abdications", state.abdications},
          {"end_recorded", state.end_recorded},
          {"generation", state.generation},
          {"claimed", state.claimed},
          {"resume", put_checkpoint(state.resume)},
          {"first_best_step", state.first_best_step},
          {"first_saved_step", state.first_saved_step},
          {"nodes", std::move(nodes)},
          {"bans", std::move(bans)},
          {"spools", std::move(spools)},
          {"placement", put_placement(state)}};
}

Expected<CoordinatorState> state_from_json(const json& object, Instant now) {
  std::optional<Error> error;
  JsonFields fields(object, "journal", error);
  const std::int64_t version = fields.integer("version", 1);
  if (!error && version > kJournalVersion)
    return fail(Code::Unsupported, "the journal was written by a newer weft (version " +
                                       std::to_string(version) + ", this one reads up to " +
                                       std::to_string(kJournalVersion) +
                                       "): resume the run with that one");
  CoordinatorState state;
  state.world = fields.small("world", 1);
  state.term = fields.integer("term");
  state.phase = fields.one_of<RunPhase>("phase", kPhases, to_string);
  state.deadline = now + fields.duration("deadline");
  state.phase_since = now + fields.duration("phase_since");
  state.outcome = fields.one_of<Outcome>("outcome", kOutcomes, to_string);
  state.reason = fields.text("reason");
  state.cause = get_cause(fields.object("cause"));
  state.stops_asked = fields.small("stops_asked");
  state.pause_asked = fields.boolean("pause_asked");
  JsonFields save = fields.object("save");
  state.save = {save.integer("id"), save.integer("at_step")};
  state.saves_done = fields.integer("saves_done");
  state.swap_node = fields.text("swap_node", 4096);
  state.end_recorded = fields.boolean("end_recorded");
  get_generations(fields, state);
  get_members(fields, state, now);
  get_placement(fields.object("placement"), state);
  const bool placed = state.phase == RunPhase::Forming || state.phase == RunPhase::Running ||
                      state.phase == RunPhase::Ending;
  if (placed && state.placement.empty()) fields.wrong("placement", "is empty");
  if (error) return tl::unexpected(*error);
  state.ranks.assign(state.world, RankState{});
  return state;
}

}  // namespace weft::runtime
