#include "runtime/coordinator/json_fields.h"
#include "runtime/coordinator/state_json.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr int kCodes = static_cast<int>(Code::Internal) + 1;
constexpr int kPhases = static_cast<int>(WorkerPhase::Failed) + 1;
constexpr int kActivities = static_cast<int>(Activity::Other) + 1;
constexpr int kWanted = static_cast<int>(Wanted::Leave) + 1;
constexpr int kOutcomes = static_cast<int>(Outcome::Failed) + 1;

json put_failure(const WorkerFailure& failure) {
  return {{"code", to_string(failure.code)},
          {"message", failure.message},
          {"blames", failure.blames},
          {"exit_code", failure.exit_code},
          {"signal", failure.signal},
          {"ordered", failure.ordered},
          {"damaged_checkpoint", failure.damaged_checkpoint}};
}

WorkerFailure get_failure(JsonFields fields) {
  WorkerFailure failure;
  failure.code = fields.one_of<Code>("code", kCodes, weft::to_string);
  failure.message = fields.text("message");
  failure.blames = fields.small("blames", -1);
  failure.exit_code = fields.small("exit_code", -255, 255);
  failure.signal = fields.small("signal", 0, 255);
  failure.ordered = fields.boolean("ordered");
  failure.damaged_checkpoint = fields.text("damaged_checkpoint", 4096);
  return failure;
}

json put_status(const WorkerStatus& status) {
  json object = {{"rank", status.rank},
                 {"phase", to_string(status.phase)},
                 {"gone", status.gone},
                 {"stopped_early", status.stopped_early},
                 {"activity", to_string(status.activity)},
                 {"step", status.step},
                 {"action", status.action},
                 {"step_time", status.step_time.count()}};
  if (!status.address.empty()) object["address"] = status.address;
  if (status.failure) object["failure"] = put_failure(*status.failure);
  return object;
}

WorkerStatus get_status(JsonFields fields) {
  WorkerStatus status;
  status.rank = fields.small("rank");
  status.phase = fields.one_of<WorkerPhase>("phase", kPhases, to_string);
  status.gone = fields.boolean("gone");
  status.stopped_early = fields.boolean("stopped_early");
  status.activity = fields.one_of<Activity>("activity", kActivities, to_string);
  status.step = fields.integer("step", -1);
  status.action = fields.integer("action");
  status.step_time = Duration(fields.integer("step_time", 0, std::int64_t{1} << 50));
  if (fields.has("address")) status.address = fields.text("address", 4096);
  if (fields.has("failure")) status.failure = get_failure(fields.object("failure"));
  return status;
}

template <class T>
Expected<T> result(T value, const std::optional<Error>& error) {
  if (error) return tl::unexpected(*error);
  return value;
}

}  // namespace

json put_checkpoint(const std::optional<Checkpoint>& checkpoint) {
  if (!checkpoint) return nullptr;
  return {{"step", checkpoint->step},
          {"generation", checkpoint->generation},
          {"name", checkpoint->name}};
}

std::optional<Checkpoint> get_checkpoint(JsonFields& parent, const char* name) {
  if (parent.is_null(name)) return std::nullopt;
  JsonFields fields = parent.object(name);
  Checkpoint checkpoint;
  checkpoint.step = fields.integer("step");
  checkpoint.generation = fields.integer("generation");
  checkpoint.name = fields.text("name", 4096);
  return checkpoint;
}

json put_facts(const NodeFacts& facts) {
  json checks = json::array();
  for (const CheckResult& check : facts.checks)
    checks.push_back({{"name", check.name}, {"passed", check.passed}, {"message", check.message}});
  return {{"slots", facts.slots},     {"roster", facts.roster},
          {"version", facts.version}, {"address", facts.address},
          {"leaf", facts.leaf},       {"memory_bytes", facts.memory_bytes},
          {"checks", checks}};
}

NodeFacts get_facts(JsonFields fields) {
  NodeFacts facts;
  facts.slots = fields.small("slots");
  facts.roster = fields.small("roster");
  facts.version = fields.text("version", 4096);
  facts.address = fields.text("address", 4096);
  if (fields.has("leaf")) facts.leaf = fields.text("leaf", 4096);  // not in older journals
  facts.memory_bytes = fields.integer("memory_bytes");
  std::size_t index = 0;
  for (const json& element : fields.array("checks", 1000)) {
    JsonFields check = fields.element(element, "checks", index++);
    facts.checks.push_back(
        {check.text("name", 4096), check.boolean("passed"), check.text("message")});
  }
  return facts;
}

json put_copies(const std::vector<MemoryCopy>& copies) {
  json array = json::array();
  for (const MemoryCopy& copy : copies)
    array.push_back({{"checkpoint", put_checkpoint(copy.checkpoint)},
                     {"parts", copy.parts},
                     {"part", copy.part},
                     {"replica", copy.replica}});
  return array;
}

std::vector<MemoryCopy> get_copies(JsonFields& fields) {
  std::vector<MemoryCopy> copies;
  std::size_t index = 0;
  for (const json& element : fields.array("copies", 16)) {
    JsonFields one = fields.element(element, "copies", index++);
    const auto checkpoint = get_checkpoint(one, "checkpoint");
    MemoryCopy copy{checkpoint.value_or(Checkpoint{}), one.small("parts", 1), 0, -1};
    copy.part = one.small("part", 0, copy.parts - 1);
    copy.replica = one.small("replica", -1, copy.parts - 1);
    if (checkpoint) copies.push_back(std::move(copy));
  }
  return copies;
}

json to_json(const Report& report) {
  json workers = json::array();
  for (const WorkerStatus& status : report.workers) workers.push_back(put_status(status));
  json object = {{"node", report.node},
                 {"incarnation", report.incarnation},
                 {"number", report.number},
                 {"term", report.term},
                 {"order", report.order},
                 {"generation", report.generation},
                 {"workers", std::move(workers)},
                 {"unacknowledged", report.unacknowledged},
                 {"spool_error", report.spool_error},
                 {"saved", put_checkpoint(report.saved)},
                 {"saved_request", report.saved_request},
                 {"copies", put_copies(report.copies)},
                 {"stops_asked", report.stops_asked},
                 {"saves_asked", report.saves_asked},
                 {"left", report.left}};
  if (report.facts) object["facts"] = put_facts(*report.facts);
  return object;
}

Expected<Report> report_from_json(const json& object) {
  std::optional<Error> error;
  JsonFields fields(object, "report", error);
  Report report;
  report.node = fields.text("node", 4096);
  report.incarnation = fields.number("incarnation");
  report.number = fields.integer("number");
  report.term = fields.integer("term");
  report.order = fields.integer("order");
  if (fields.has("facts")) report.facts = get_facts(fields.object("facts"));
  report.generation = fields.integer("generation");
  std::size_t index = 0;
  for (const json& element : fields.array("workers", 1 << 16))
    report.workers.push_back(get_status(fields.element(element, "workers", index++)));
  report.unacknowledged = fields.integer("unacknowledged");
  report.spool_error = fields.text("spool_error");
  report.saved = get_checkpoint(fields, "saved");
  report.saved_request = fields.integer("saved_request");
  report.copies = get_copies(fields);
  report.stops_asked = fields.small("stops_asked");
  report.saves_asked = fields.small("saves_asked");
  report.left = fields.boolean("left");
  return result(std::move(report), error);
}

json to_json(const Records& records) {
  json keys = json::array();
  for (const RecordKey& key : records.keys) keys.push_back({key.sequence, key.step});
  return {{"node", records.node},
          {"incarnation", records.incarnation},
          {"generation", records.generation},
          {"rank", records.rank},
          {"keys", std::move(keys)}};
}

Expected<Records> records_from_json(const json& object) {
  std::optional<Error> error;
  JsonFields fields(object, "records", error);
  Records records;
  records.node = fields.text("node", 4096);
  records.incarnation = fields.number("incarnation");
  records.generation = fields.integer("generation");
  records.rank = fields.small("rank");
  for (const json& key : fields.array("keys", 1 << 16)) {
    const bool pair = key.is_array() && key.size() == 2 && key[0].is_number_integer() &&
                      key[1].is_number_integer();
    if (!pair || key[0].get<std::int64_t>() < 0 || key[1].get<std::int64_t>() < -1) {
      fields.wrong("keys", "holds something other than pairs of a sequence and a step");
      break;
    }
    records.keys.push_back({key[0].get<std::int64_t>(), key[1].get<std::int64_t>()});
  }
  return result(std::move(records), error);
}

json to_json(const Order& order) {
  json ranks = json::array();
  for (const RankSlot& where : order.ranks) ranks.push_back({where.rank, where.slot});
  return {{"term", order.term},
          {"number", order.number},
          {"generation", order.generation},
          {"wanted", to_string(order.wanted)},
          {"ranks", std::move(ranks)},
          {"resume", put_checkpoint(order.resume)},
          {"stop", order.stop},
          {"save", {{"id", order.save.id}, {"at_step", order.save.at_step}}},
          {"hard", order.hard},
          {"outcome", to_string(order.outcome)},
          {"reason", order.reason}};
}

Expected<Order> order_from_json(const json& object) {
  std::optional<Error> error;
  JsonFields fields(object, "order", error);
  Order order;
  order.term = fields.integer("term");
  order.number = fields.integer("number");
  order.generation = fields.integer("generation");
  order.wanted = fields.one_of<Wanted>("wanted", kWanted, to_string);
  for (const json& where : fields.array("ranks", 1 << 16)) {
    if (!is_index_pair(where)) {
      fields.wrong("ranks", "holds something other than pairs of a rank and a slot");
      break;
    }
    order.ranks.push_back({where[0].get<int>(), where[1].get<int>()});
  }
  order.resume = get_checkpoint(fields, "resume");
  order.stop = fields.boolean("stop");
  JsonFields save = fields.object("save");
  order.save = {save.integer("id"), save.integer("at_step")};
  order.hard = fields.boolean("hard");
  order.outcome = fields.one_of<Outcome>("outcome", kOutcomes, to_string);
  order.reason = fields.text("reason");
  return result(std::move(order), error);
}

json to_json(const Claim& claim) {
  return {{"term", claim.term},         {"node", claim.node}, {"incarnation", claim.incarnation},
          {"endpoint", claim.endpoint}, {"beat", claim.beat}, {"abdicated", claim.abdicated}};
}

Expected<Claim> claim_from_json(const json& object) {
  std::optional<Error> error;
  JsonFields fields(object, "claim", error);
  Claim claim;
  claim.term = fields.integer("term", 1);
  claim.node = fields.text("node", 4096);
  claim.incarnation = fields.number("incarnation");
  claim.endpoint = fields.text("endpoint", 4096);
  claim.beat = fields.integer("beat");
  claim.abdicated = fields.boolean("abdicated");
  return result(std::move(claim), error);
}

json to_json(const RunEnd& end) {
  return {{"outcome", to_string(end.outcome)}, {"reason", end.reason}};
}

Expected<RunEnd> run_end_from_json(const json& object) {
  std::optional<Error> error;
  JsonFields fields(object, "end", error);
  RunEnd end{fields.one_of<Outcome>("outcome", kOutcomes, to_string), fields.text("reason")};
  return result(std::move(end), error);
}

}  // namespace weft::runtime
