// The transport of a world of one rank: messages to itself, matched in memory.
#include <optional>

#include "comm/communicator.h"
#include "comm/operations.h"

namespace weft::comm {
namespace {

class SelfCommunicator final : public Communicator {
 public:
  explicit SelfCommunicator(std::string name) : name_(std::move(name)) {}

  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string_view name() const override { return name_; }

  Request start_send(int to, Tag tag, ConstBytes data) override {
    check_tag(tag);
    return operations_.start_send(to, tag, data);
  }
  Request start_receive(int from, Tag tag, Bytes into) override {
    check_tag(tag);
    return operations_.start_receive(from, tag, into);
  }

  Expected<std::size_t> wait(Request request) override {
    progress();
    Operation& op = operations_.at(request);
    if (op.done) {
      const std::size_t length = op.length;
      operations_.release(request);
      return length;
    }
    if (!fault_ && op.is_send) {
      const std::size_t length = op.length;
      operations_.keep_own_send(request);
      return length;
    }
    // Nobody else can send it: waiting longer would change nothing.
    if (!fault_)
      fault_ = operation_error(*this, op, Code::DeadlineExceeded, "nothing was sent to it");
    return tl::unexpected<Error>(*fault_);
  }

  bool test(Request request) override {
    progress();
    return fault_ || operations_.at(request).done;
  }

 private:
  void progress() {
    if (fault_) return;
    const Operations::OwnMatches own = operations_.match_own(0);
    if (own.wrong != nullptr) fault_ = operation_error(*this, *own.wrong, Code::Corrupt, own.why);
  }

  std::string name_;
  Operations operations_{1};
  std::optional<Error> fault_;
};

class SelfTransport final : public Transport {
 public:
  int world_rank() const override { return 0; }
  int world_size() const override { return 1; }

  Expected<std::vector<std::unique_ptr<Communicator>>> make_groups(
      std::span<const GroupSpec> specs) override {
    std::vector<std::unique_ptr<Communicator>> groups;
    for (const GroupSpec& spec : specs) {
      if (spec.ranks.size() != 1 || spec.ranks[0] != 0)
        return fail(Code::InvalidArgument,
                    "group '" + spec.name + "' must consist of rank 0, the only one in this world");
      groups.push_back(std::make_unique<SelfCommunicator>(spec.name));
    }
    return groups;
  }
};

}  // namespace

std::unique_ptr<Transport> make_self_transport() { return std::make_unique<SelfTransport>(); }

}  // namespace weft::comm
