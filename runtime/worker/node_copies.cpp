#include "runtime/worker/node_copies.h"

#include <algorithm>

#include "comm/tcp/tcp_world.h"

namespace weft::runtime {

namespace checkpoint = trainer::checkpoint;
using checkpoint::FileEntry;
using checkpoint::ShardReport;

namespace {

const std::string kGood = "good", kBad = "bad";

/// What a carrier says of its node: its ranks' reports, or why there are none.
std::string say(const Expected<std::vector<ShardReport>>& reports) {
  std::vector<std::string> texts = {reports ? kGood : kBad};
  if (!reports) texts.push_back(reports.error().message);
  for (const ShardReport& report : reports ? *reports : std::vector<ShardReport>())
    texts.push_back(report.to_json());
  return pack(texts);
}

/// Reports of exactly these ranks. Never trusts what came.
Expected<std::vector<ShardReport>> hear(const std::string& packed, const std::vector<int>& ranks) {
  WEFT_TRY_ASSIGN(const auto texts, unpack(packed));
  if (texts.size() == 2 && texts[0] == kBad) return fail(Code::Io, texts[1]);
  if (texts.size() != ranks.size() + 1 || texts[0] != kGood)
    return fail(Code::Corrupt, "the reports of another number of ranks came");
  std::vector<ShardReport> reports;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    WEFT_TRY_ASSIGN(ShardReport report, ShardReport::from_json(texts[i + 1]));
    if (report.rank != ranks[i])
      return fail(Code::Corrupt, "the report of rank " + std::to_string(report.rank) +
                                     " came as that of rank " + std::to_string(ranks[i]));
    reports.push_back(std::move(report));
  }
  return reports;
}

std::vector<FileEntry> files_of(const std::vector<ShardReport>& reports) {
  std::vector<FileEntry> files;
  for (const ShardReport& report : reports)
    files.insert(files.end(), report.files.begin(), report.files.end());
  return files;
}

/// Every rank's text; the first that is not empty fails all of them.
Expected<void> all_good(comm::Communicator& world, const CopyNodes& nodes,
                        const Expected<void>& mine) {
  WEFT_TRY_ASSIGN(const auto said,
                  comm::all_gather_text(world, mine ? std::string() : mine.error().message));
  for (std::size_t rank = 0; rank < said.size(); ++rank)
    if (!said[rank].empty())
      return fail(Code::Unavailable,
                  "node " + nodes.names[static_cast<std::size_t>(nodes.node_of_rank[rank])] + ": " +
                      said[rank]);
  return {};
}

}  // namespace

Expected<std::unique_ptr<NodeCopies>> NodeCopies::open(comm::Communicator& world, CopyNodes nodes,
                                                       const NodeCopiesOptions& options) {
  std::unique_ptr<NodeCopies> made(new NodeCopies(std::move(nodes), world.rank(), options));
  const CopyNodes& all = made->nodes_;
  const bool carries = all.carries(world.rank());
  std::optional<comm::TcpWorld> place;
  const auto listened = [&]() -> Expected<void> {
    if (!carries) return {};
    WEFT_TRY_ASSIGN(place, comm::TcpWorld::listen(options.listen));
    return {};
  }();
  WEFT_TRY(all_good(world, all, listened));
  WEFT_TRY_ASSIGN(const auto endpoints,
                  comm::all_gather_text(world, place ? place->endpoint() : std::string()));
  const auto joined = [&]() -> Expected<void> {
    if (!carries) return {};
    comm::TcpWorldOptions tcp;
    tcp.run = "copies of the state";
    tcp.generation = options.generation;
    tcp.secret = options.secret;
    tcp.rank = made->node_;
    for (int node = 0; node < all.size(); ++node)
      tcp.endpoints.push_back(endpoints[static_cast<std::size_t>(all.carrier(node))]);
    tcp.join_bound = options.join_bound;
    WEFT_TRY_ASSIGN(made->transport_, place->join(tcp));
    comm::GroupSpec everybody{"copies", {}};
    for (int node = 0; node < all.size(); ++node) everybody.ranks.push_back(node);
    WEFT_TRY_ASSIGN(auto groups, made->transport_->make_groups(std::span(&everybody, 1)));
    groups[0]->set_wait_bound(options.bound);
    made->link_.emplace(std::move(groups[0]), made->stop_, options.bound);
    return {};
  }();
  WEFT_TRY(all_good(world, all, joined));
  return made;
}

checkpoint::SaverOptions::Elsewhere NodeCopies::elsewhere() {
  checkpoint::SaverOptions::Elsewhere elsewhere;
  if (link_) elsewhere.waits_for = nodes_.ranks[static_cast<std::size_t>(node_)];
  elsewhere.commit = [this](const checkpoint::Gathered& gathered) { return commit(gathered); };
  elsewhere.interrupt = [this] { interrupt(); };
  return elsewhere;
}

void NodeCopies::allow(std::uint64_t step) {
  const std::lock_guard lock(mutex_);
  allowed_ = std::max(allowed_, step);
  changed_.notify_all();
}

void NodeCopies::interrupt() {
  const std::lock_guard lock(mutex_);
  stop_ = true;
  changed_.notify_all();
}

Expected<void> NodeCopies::wait_until_allowed(std::uint64_t step) {
  std::unique_lock lock(mutex_);
  const bool heard =
      changed_.wait_for(lock, options_.bound, [&] { return stop_ || allowed_ >= step; });
  if (stop_) return fail(Code::Unavailable, "the copy was abandoned");
  if (!heard)
    return fail(Code::DeadlineExceeded, "the records of the steps up to it were not kept in time");
  return {};
}

/// An error closes the link, so that nobody waits for this node again.
Expected<checkpoint::Committed> NodeCopies::commit(const checkpoint::Gathered& gathered) {
  const std::string mine = say(gathered.reports);
  auto made = [&]() -> Expected<checkpoint::Committed> {
    WEFT_TRY_ASSIGN(const std::vector<FileEntry> replica, trade(gathered, mine));
    WEFT_TRY_ASSIGN(const Agreed agreed, agree(gathered, mine));
    WEFT_TRY_ASSIGN(checkpoint::Manifest manifest, checkpoint::from_json(agreed.manifest));
    if (manifest.step != gathered.info.step || manifest.attempt != gathered.info.attempt)
      return fail(Code::Corrupt, "the manifest of another copy came");
    std::vector<std::string> held;
    for (const FileEntry& file : replica) held.push_back(file.path);
    for (const FileEntry& file : files_of(*gathered.reports)) held.push_back(file.path);
    WEFT_TRY_ASSIGN(auto directory,
                    checkpoint::commit_part(gathered.ckpt_dir, gathered.partial_dir, manifest,
                                            agreed.state, held, options_.keep));
    return checkpoint::Committed{std::move(manifest), std::move(directory), {}, {}};
  }();
  if (!made) link_->close();
  return made;
}

/// Our files to our partner, and those of the node whose partner we are to us. What that node has
/// not got it says to all, in agree().
Expected<std::vector<FileEntry>> NodeCopies::trade(const checkpoint::Gathered& gathered,
                                                   const std::string& mine) {
  const int to = nodes_.partner[static_cast<std::size_t>(node_)], from = nodes_.replica_of(node_);
  const auto said_by = link_->trade_texts(to, mine, from);
  if (!said_by) return tl::unexpected(with_partners(said_by.error()));
  const std::string& said = *said_by;
  const auto theirs = hear(said, nodes_.ranks[static_cast<std::size_t>(from)]);
  const auto give = gathered.reports ? files_of(*gathered.reports) : std::vector<FileEntry>();
  const auto take = theirs ? files_of(*theirs) : std::vector<FileEntry>();
  for (const FileEntry& file : take)
    if (!checkpoint::is_plain_path(file.path) ||
        std::ranges::find(give, file.path, &FileEntry::path) != give.end())
      return fail(Code::Corrupt, "another node sent a file called " + file.path);
  const auto traded = link_->trade_files(gathered.partial_dir, to, give, from, take);
  if (!traded) return tl::unexpected(with_partners(traded.error()));
  return take;
}

/// Whose copies it is that a link between partners keeps from being made.
Error NodeCopies::with_partners(Error error) const {
  const std::size_t to = static_cast<std::size_t>(nodes_.partner[static_cast<std::size_t>(node_)]);
  const auto from = static_cast<std::size_t>(nodes_.replica_of(node_));
  error.message = "between node " + nodes_.names[static_cast<std::size_t>(node_)] +
                  " and its partner " + nodes_.names[to] +
                  (from == to ? "" : " or " + nodes_.names[from] + ", whose partner it is") + ": " +
                  error.message;
  return error;
}

/// The first carrier makes the manifest of what all have said, and tells it or why there is none.
Expected<NodeCopies::Agreed> NodeCopies::agree(const checkpoint::Gathered& gathered,
                                               const std::string& mine) {
  std::string answer;
  if (node_ == 0) {
    std::vector<std::string> said = {mine};
    for (int node = 1; node < nodes_.size(); ++node) {
      WEFT_TRY_ASSIGN(said.emplace_back(), link_->receive_text(node));
    }
    const auto decided = decide(gathered, said);
    answer = pack(decided ? std::vector<std::string>{kGood, decided->manifest, decided->state}
                          : std::vector<std::string>{kBad, decided.error().message});
    for (int node = 1; node < nodes_.size(); ++node) WEFT_TRY(link_->send_text(node, answer));
  } else {
    WEFT_TRY(link_->send_text(0, mine));
    WEFT_TRY_ASSIGN(answer, link_->receive_text(0));
  }
  WEFT_TRY_ASSIGN(auto texts, unpack(answer));
  if (texts.size() == 2 && texts[0] == kBad) return fail(Code::Io, texts[1]);
  if (texts.size() != 3 || texts[0] != kGood)
    return fail(Code::Corrupt, "what the first node decided cannot be read");
  return Agreed{std::move(texts[1]), std::move(texts[2])};
}

Expected<NodeCopies::Agreed> NodeCopies::decide(const checkpoint::Gathered& gathered,
                                                const std::vector<std::string>& said) {
  std::vector<ShardReport> reports;
  for (std::size_t node = 0; node < said.size(); ++node) {
    auto theirs = hear(said[node], nodes_.ranks[node]);
    if (!theirs) return fail_in("node " + nodes_.names[node], theirs.error());
    std::ranges::move(*theirs, std::back_inserter(reports));
  }
  WEFT_TRY(wait_until_allowed(gathered.info.step));
  WEFT_TRY_ASSIGN(const checkpoint::Manifest manifest,
                  checkpoint::assemble(gathered.info, reports));
  WEFT_TRY_ASSIGN(std::string text, checkpoint::to_json(manifest));
  return Agreed{std::move(text), gathered.info.state};
}

}  // namespace weft::runtime
