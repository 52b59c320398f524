#include "runtime/agent/node_metrics.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace weft::runtime {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

constexpr std::chrono::seconds kRequestBound{5};
constexpr std::uint32_t kHeaderBytes = 8192;
constexpr int kSessions = 8;  // at a time; others wait to be accepted

struct HostPort {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
};

Expected<HostPort> parse_place(const std::string& where) {
  HostPort place;
  const std::size_t colon = where.rfind(':');
  std::string_view port = where;
  if (colon != std::string::npos) {
    if (colon > 0) place.host = where.substr(0, colon);
    port.remove_prefix(colon + 1);
  }
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), place.port);
  if (error != std::errc() || end != port.data() + port.size())
    return fail(Code::InvalidArgument,
                "--metrics '" + where + "' is no HOST:PORT, such as 127.0.0.1:9464");
  return place;
}

using Answer = http::response<http::string_body>;

Answer answer_to(const http::request<http::empty_body>& request, const std::string& metrics) {
  const bool get = request.method() == http::verb::get;
  const bool known = request.target() == "/metrics";
  Answer answer(!get    ? http::status::method_not_allowed
                : known ? http::status::ok
                        : http::status::not_found,
                request.version());
  answer.set(http::field::content_type,
             get && known ? "text/plain; version=0.0.4; charset=utf-8" : "text/plain");
  if (!get) answer.set(http::field::allow, "GET");
  answer.body() = get && known ? metrics : "this is weft; ask for GET /metrics\n";
  answer.keep_alive(false);
  answer.prepare_payload();
  return answer;
}

}  // namespace

struct NodeMetrics::Impl {
  std::filesystem::path run_directory;
  int sessions = 0;  // the thread's; outlives the context
  asio::io_context context{1};
  tcp::acceptor acceptor{context};
  std::string address;
  std::mutex mutex;
  NodeFigures figures;  // under mutex
  std::thread thread;

  void accept();
  std::string text();
};

namespace {

/// One request and its answer; whoever is slow or talks something else is cut off.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, std::function<std::string()> text, std::function<void()> over)
      : stream_(std::move(socket)), text_(std::move(text)), over_(std::move(over)) {
    parser_.header_limit(kHeaderBytes);
    parser_.body_limit(0);
  }
  ~Session() { over_(); }

  void start() {
    stream_.expires_after(kRequestBound);
    http::async_read(stream_, buffer_, parser_,
                     [self = shared_from_this()](beast::error_code error, std::size_t) {
                       if (!error) self->reply();
                     });
  }

 private:
  void reply() {
    answer_ = answer_to(parser_.get(), text_());
    http::async_write(stream_, answer_,
                      [self = shared_from_this()](beast::error_code error, std::size_t) {
                        self->stream_.socket().shutdown(tcp::socket::shutdown_send, error);
                      });
  }

  beast::tcp_stream stream_;
  beast::flat_buffer buffer_{kHeaderBytes * 2};
  http::request_parser<http::empty_body> parser_;
  Answer answer_;
  std::function<std::string()> text_;
  std::function<void()> over_;
};

}  // namespace

void NodeMetrics::Impl::accept() {
  acceptor.async_accept([this](beast::error_code error, tcp::socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (!error) {
      ++sessions;
      const auto over = [this] {
        if (sessions-- == kSessions) accept();
      };
      std::make_shared<Session>(
          std::move(socket), [this] { return text(); }, over)
          ->start();
    }
    if (sessions < kSessions) accept();
  });
}

std::string NodeMetrics::Impl::text() {
  NodeFigures present;
  {
    const std::lock_guard lock(mutex);
    present = figures;
  }
  return to_prometheus(present, read_node(run_directory));
}

NodeMetrics::NodeMetrics(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

NodeMetrics::~NodeMetrics() {
  impl_->context.stop();
  impl_->thread.join();
  impl_->sessions = 2 * kSessions;  // those that end with the context make no room for others
}

Expected<std::unique_ptr<NodeMetrics>> NodeMetrics::serve(const std::string& where,
                                                          std::filesystem::path run_directory) {
  WEFT_TRY_ASSIGN(const HostPort place, parse_place(where));
  auto impl = std::make_unique<Impl>();
  impl->run_directory = std::move(run_directory);
  beast::error_code error;
  const auto host = asio::ip::make_address(place.host, error);
  if (error)
    return fail(Code::InvalidArgument,
                "--metrics: '" + place.host + "' is no address; give a number such as 10.0.0.42");
  const tcp::endpoint endpoint(host, place.port);
  impl->acceptor.open(endpoint.protocol(), error);
  if (!error) impl->acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) impl->acceptor.bind(endpoint, error);
  if (!error) impl->acceptor.listen(kSessions, error);
  if (error)
    return fail(error == asio::error::address_in_use ? Code::Busy : Code::InvalidArgument,
                "metrics cannot be served at " + where + ": " + error.message() +
                    "; choose another --metrics HOST:PORT");
  impl->address = place.host + ":" + std::to_string(impl->acceptor.local_endpoint(error).port());
  Impl& running = *impl;
  running.accept();
  running.thread = std::thread([&running] { running.context.run(); });
  return std::unique_ptr<NodeMetrics>(new NodeMetrics(std::move(impl)));
}

std::string NodeMetrics::address() const { return impl_->address; }

void NodeMetrics::set(NodeFigures figures) {
  const std::lock_guard lock(impl_->mutex);
  impl_->figures = std::move(figures);
}

}  // namespace weft::runtime
