// Any bytes as a manifest or as a peer's shard report: refused, or whole and stable under
// rewriting. The manifest's own hash would stop almost every mutation at the door, so it is made
// anew here: what is tried is what stands behind it.
#include "base/check.h"
#include "tests/fuzz/replay.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/shard.h"

namespace checkpoint = weft::trainer::checkpoint;

namespace {

constexpr std::string_view kTail = ",\n \"manifest_xxh128\": \"";

std::string with_own_hash(const std::string& body) {
  return body + std::string(kTail) + to_hex(checkpoint::hash_of(body)) + "\"\n}\n";
}

void try_manifest(const std::string& text) {
  const auto manifest = checkpoint::from_json(text);
  if (!manifest) {
    WEFT_CHECK(manifest.error().code == weft::Code::Corrupt && !manifest.error().message.empty());
    return;
  }
  WEFT_CHECK(checkpoint::validate(*manifest).has_value());
  const auto again = checkpoint::to_json(*manifest);
  WEFT_CHECK(again.has_value());
  WEFT_CHECK(*checkpoint::from_json(*again) == *manifest);
}

checkpoint::Manifest example() {
  checkpoint::Manifest m;
  m.run = "fuzz";
  m.step = 40;
  m.layout = {2, 1, 2, "dualpipe"};
  const std::string a = "model/a.safetensors", b = "model/b.safetensors", c = "optim/c.safetensors";
  m.files = {{a, 5000, {1, 2}}, {b, 5000, {3, 4}}, {c, 5000, {3, 4}}};
  m.tensors = {{"model",
                "w",
                {4, 6},
                checkpoint::Dtype::F32,
                {{a, {{0, 0}, {4, 2}}, 32, {1, 2}}, {b, {{0, 2}, {4, 4}}, 64, {3, 4}}}},
               {"optim", "s", {}, checkpoint::Dtype::F32, {{c, {{}, {}}, 4, {5, 6}}}}};
  return m;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try_manifest(text);
  try_manifest(with_own_hash(text));
  const auto report = checkpoint::ShardReport::from_json(text);
  if (report) WEFT_CHECK(*checkpoint::ShardReport::from_json(report->to_json()) == *report);
  return 0;
}

std::vector<std::string> weft::fuzz::seed_inputs() {
  const auto body = [](const checkpoint::Manifest& m) {
    const std::string text = *checkpoint::to_json(m);
    return text.substr(0, text.rfind(kTail));
  };
  checkpoint::ShardReport report;
  report.tensors = example().tensors;
  report.files = example().files;
  return {body(example()), body({}), *checkpoint::to_json(example()), report.to_json()};
}
