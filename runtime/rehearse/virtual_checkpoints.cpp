#include "runtime/rehearse/virtual_checkpoints.h"

#include <array>
#include <fstream>

#include "trainer/checkpoint/checkpoint.h"

namespace weft::runtime {

namespace checkpoint = trainer::checkpoint;

namespace {

constexpr int kValues = 64;  // a position
constexpr const char* kState = R"({"synthetic": true, "what": "a rehearsal; there is no model"})";

std::string tensor_of(int position) { return "synthetic.position." + std::to_string(position); }

std::filesystem::path shard_of(int position) { return checkpoint::shard_file("model", position); }

}  // namespace

Expected<std::string> VirtualCheckpoints::write(std::int64_t step, std::int64_t generation,
                                                std::int64_t tokens, const std::string& wall_time) {
  const auto number = static_cast<std::uint64_t>(step);
  const auto attempt = static_cast<std::uint64_t>(generation);
  WEFT_TRY_ASSIGN(const std::filesystem::path partial,
                  checkpoint::prepare(directory_, number, attempt));
  checkpoint::ManifestInfo info;
  std::vector<checkpoint::ShardReport> reports;
  for (int position = 0; position < layout_.pipeline; ++position) {
    std::array<float, kValues> values;
    values.fill(static_cast<float>(step));
    const checkpoint::TensorRef tensor{"model", tensor_of(position),   {kValues}, values.data(), {},
                                       {},      checkpoint::Dtype::F32};
    info.expected.push_back({"model", tensor.name, tensor.shape});
    WEFT_TRY_ASSIGN(
        checkpoint::ShardReport report,
        checkpoint::write_shard(partial, position, layout_.pipeline, std::span(&tensor, 1)));
    reports.push_back(std::move(report));
  }
  info.run = run_;
  info.attempt = attempt;
  info.step = number;
  info.tokens = static_cast<std::uint64_t>(tokens);
  info.wall_time = wall_time;
  info.writer = "weft rehearse (synthetic: no model)";
  info.layout = {layout_.pipeline, layout_.data, layout_.expert,
                 std::string(dualpipe::to_string(layout_.kind))};
  info.state = kState;
  info.keep = keep_;
  WEFT_TRY_ASSIGN(const checkpoint::Committed done,
                  checkpoint::commit(directory_, partial, info, reports));
  return done.directory.filename().string();
}

Expected<int> VirtualCheckpoints::damage(const std::string& name) {
  const int position = layout_.pipeline / 2;
  const std::filesystem::path path = directory_ / name / shard_of(position);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(-1, std::ios::end);
  const int last = file.get();
  file.seekp(-1, std::ios::end);
  file.put(static_cast<char>(last ^ 0x10));
  if (!file) return fail(Code::Io, path.string() + " could not be damaged");
  return position;
}

std::vector<Checkpoint> VirtualCheckpoints::complete() const {
  std::vector<Checkpoint> found;
  const auto entries = checkpoint::list(directory_);
  if (!entries) return found;
  for (const checkpoint::Entry& entry : *entries)
    if (entry.state == checkpoint::EntryState::Complete)
      found.push_back({static_cast<std::int64_t>(entry.step),
                       static_cast<std::int64_t>(entry.attempt), entry.name});
  return found;
}

VirtualCheckpoints::Verdict VirtualCheckpoints::verify(const std::string& name) const {
  const auto report = checkpoint::verify(directory_ / name, checkpoint::Mode::Full);
  if (!report) return {0, report.error().message};
  if (report->ok()) return {};
  for (int position = 0; position < layout_.pipeline; ++position)
    if (report->damage.front().file == shard_of(position).string())
      return {position, report->summary()};
  return {0, report->summary()};
}

}  // namespace weft::runtime
