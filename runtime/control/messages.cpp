#include "runtime/control/messages.h"

#include <nlohmann/json.hpp>

#include "runtime/coordinator/state_json.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr std::size_t kMaxPayloads = 65536;

json body_of(const Report& report) { return {{"type", "report"}, {"body", to_json(report)}}; }
json body_of(const RecordsMessage& message) {
  return {{"type", "records"}, {"body", to_json(message.records)}, {"payload", message.payload}};
}
json body_of(const Order& order) {
  json wire = {{"type", "order"}, {"body", to_json(order)}};
  if (order.addresses) wire["addresses"] = *order.addresses;
  return wire;
}
json body_of(const Beat& beat) {
  return {{"type", "beat"}, {"term", beat.term}, {"order", beat.order}};
}
json body_of(const Acknowledgement& a) {
  return {{"type", "stored"},
          {"term", a.term},
          {"generation", a.generation},
          {"rank", a.rank},
          {"next", a.next}};
}
json body_of(const RefusalMessage& refusal) {
  return {{"type", "refusal"}, {"reason", refusal.reason}};
}

Expected<WireMessage> read_records(const json& wire) {
  RecordsMessage message;
  WEFT_TRY_ASSIGN(message.records, records_from_json(wire.at("body")));
  const json& payload = wire.at("payload");
  if (!payload.is_array() || payload.size() != message.records.keys.size() ||
      payload.size() > kMaxPayloads)
    return fail(Code::Corrupt, "records without as many payloads");
  message.payload = payload.get<std::vector<std::string>>();
  return message;
}

Expected<WireMessage> read_order(const json& wire) {
  WEFT_TRY_ASSIGN(Order order, order_from_json(wire.at("body")));
  if (wire.contains("addresses"))
    order.addresses = std::make_shared<const std::vector<std::string>>(
        wire["addresses"].get<std::vector<std::string>>());
  return order;
}

Expected<WireMessage> read(const json& wire) {
  const std::string type = wire.at("type").get<std::string>();
  if (type == "report") {
    WEFT_TRY_ASSIGN(Report report, report_from_json(wire.at("body")));
    return report;
  }
  if (type == "records") return read_records(wire);
  if (type == "order") return read_order(wire);
  if (type == "beat")
    return Beat{wire.at("term").get<std::int64_t>(), wire.at("order").get<std::int64_t>()};
  if (type == "stored")
    return Acknowledgement{
        wire.at("term").get<std::int64_t>(), wire.at("generation").get<std::int64_t>(),
        wire.at("rank").get<int>(), wire.at("next").get<std::int64_t>()};
  if (type == "refusal") return RefusalMessage{wire.at("reason").get<std::string>()};
  return fail(Code::Corrupt, "a message of the unknown type '" + type.substr(0, 40) + "'");
}

}  // namespace

std::string encode(const WireMessage& message) {
  json wire = std::visit([](const auto& one) { return body_of(one); }, message);
  wire["weft"] = kWireVersion;
  return wire.dump(-1, ' ', false, json::error_handler_t::replace);
}

Expected<WireMessage> decode(std::string_view bytes) {
  const json wire = json::parse(bytes, nullptr, false);
  if (!wire.is_object()) return fail(Code::Corrupt, "a message that is no JSON object");
  const auto version = wire.find("weft");
  if (version == wire.end() || *version != kWireVersion)
    return fail(Code::Unsupported,
                "a message of wire version " +
                    (version == wire.end() ? std::string("?") : version->dump().substr(0, 20)) +
                    ", this weft speaks version " + std::to_string(kWireVersion) +
                    "; run the same weft on every node");
  try {
    return read(wire);
  } catch (const json::exception& error) {
    return fail(Code::Corrupt, std::string("a message that cannot be read: ") + error.what());
  }
}

}  // namespace weft::runtime
