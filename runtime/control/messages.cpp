#include "runtime/control/messages.h"

#include <nlohmann/json.hpp>

#include "runtime/control/whole_number.h"
#include "runtime/coordinator/state_json.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

constexpr std::size_t kMaxPayloads = 65536;
constexpr std::size_t kMaxAddresses = std::size_t{1} << 20;

// The addresses of all ranks go to all nodes, which at 16,384 ranks is most of what a coordinator
// ever sends. They follow the JSON as text, a line for the ranks of one host:
// "10.0.0.7:40000,40001".

/// The lines, each after a line end; "" when an address is no "host:port" that a line can hold.
std::string lines_of(const std::vector<std::string>& addresses) {
  std::string text;
  std::string_view host;
  for (const std::string& address : addresses) {
    const std::size_t port = address.rfind(':') + 1;  // 0: none
    if (port < 2 || port == address.size() || address.find(',') != std::string::npos ||
        address.find('\n') != std::string::npos)
      return {};
    const std::string_view own = std::string_view(address).substr(0, port);
    if (own == host) {
      text += ',';
      text.append(address, port);
    } else {
      text += '\n';
      text += address;
      host = own;
    }
  }
  return text;
}

/// The same for the orders of all nodes, which share one list: made once.
const std::string& shared_lines(const std::shared_ptr<const std::vector<std::string>>& addresses) {
  struct Made {
    std::shared_ptr<const std::vector<std::string>> of;
    std::string text;
  };
  thread_local Made last;
  if (last.of != addresses) last = {addresses, lines_of(*addresses)};
  return last.text;
}

Expected<std::vector<std::string>> read_lines(std::string_view text) {
  std::vector<std::string> addresses;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::size_t port = line.rfind(':') + 1;  // 0: none
    if (port < 2) return fail(Code::Corrupt, "addresses without a host");
    for (std::string_view ports = line.substr(port);;) {
      const std::string_view one = ports.substr(0, ports.find(','));
      if (one.empty() || addresses.size() == kMaxAddresses)
        return fail(Code::Corrupt, "addresses without a port, or too many");
      addresses.emplace_back(line.substr(0, port)).append(one);
      if (one.size() == ports.size()) break;
      ports.remove_prefix(one.size() + 1);
    }
  }
  return addresses;
}

json body_of(const Report& report) { return {{"type", "report"}, {"body", to_json(report)}}; }
json body_of(const RecordsMessage& message) {
  return {{"type", "records"}, {"body", to_json(message.records)}, {"payload", message.payload}};
}
json body_of(const Order& order) {
  json wire = {{"type", "order"}, {"body", to_json(order)}};
  if (order.addresses && shared_lines(order.addresses).empty())
    wire["addresses"] = *order.addresses;
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
  if (type == "beat") return Beat{whole(wire.at("term")), whole(wire.at("order"))};
  if (type == "stored")
    return Acknowledgement{whole(wire.at("term")), whole(wire.at("generation")),
                           whole<int>(wire.at("rank")), whole(wire.at("next"))};
  if (type == "refusal") return RefusalMessage{wire.at("reason").get<std::string>()};
  return fail(Code::Corrupt, "a message of the unknown type '" + type.substr(0, 40) + "'");
}

}  // namespace

std::string encode(const WireMessage& message) {
  json wire = std::visit([](const auto& one) { return body_of(one); }, message);
  wire["weft"] = kWireVersion;
  std::string text = wire.dump(-1, ' ', false, json::error_handler_t::replace);
  const auto* const order = std::get_if<Order>(&message);
  if (order != nullptr && order->addresses) text += shared_lines(order->addresses);
  return text;
}

Expected<WireMessage> decode(std::string_view bytes) {
  // JSON that is written in one line has no line end in it.
  const std::string_view head = bytes.substr(0, bytes.find('\n'));
  const json wire = json::parse(head, nullptr, false);
  if (!wire.is_object()) return fail(Code::Corrupt, "a message that is no JSON object");
  const auto version = wire.find("weft");
  if (version == wire.end() || *version != kWireVersion)
    return fail(Code::Unsupported,
                "a message of wire version " +
                    (version != wire.end() && version->is_number_integer() ? version->dump()
                                                                           : std::string("?")) +
                    ", this weft speaks version " + std::to_string(kWireVersion) +
                    "; run the same weft on every node");
  try {
    WEFT_TRY_ASSIGN(WireMessage message, read(wire));
    if (head.size() == bytes.size()) return message;
    auto* const order = std::get_if<Order>(&message);
    if (order == nullptr || order->addresses)
      return fail(Code::Corrupt, "a message with something behind its end");
    WEFT_TRY_ASSIGN(auto addresses, read_lines(bytes.substr(head.size() + 1)));
    order->addresses = std::make_shared<const std::vector<std::string>>(std::move(addresses));
    return message;
  } catch (const json::exception& error) {
    return fail(Code::Corrupt, std::string("a message that cannot be read: ") + error.what());
  }
}

}  // namespace weft::runtime
