#include "runtime/job/model_file.h"

#include <algorithm>

#include "base/files.h"
#include "runtime/job/fields.h"
#include "trainer/hf/config.h"

namespace weft::runtime {

namespace {
constexpr std::size_t kBytesMax = 16 << 20;
}

Expected<ModelFile> read_model_file(const std::filesystem::path& path) {
  std::error_code error;  // whatever it is, it is no file to read then
  if (std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error))
    return fail(Code::InvalidArgument, path.string() + " is not a file");
  WEFT_TRY_ASSIGN(const std::string text, read_file(path, kBytesMax));
  WEFT_TRY_ASSIGN(trainer::hf::Parsed parsed, trainer::hf::parse_config(text, path.string()));
  ModelFile file{parsed.config, {}, std::move(parsed.warnings), parsed.config.fp8_block_rows > 0};
  const std::vector<std::string> idle = trainer::without_effect(file.model);
  for (const Field& field : fields()) {
    const std::string leaf(leaf_of(field.path));
    if (group_of(field.path) == "model" && leaf != "config" &&
        std::ranges::find(idle, leaf) == idle.end())
      file.decides.push_back(field.path);
  }
  return file;
}

void copy_model_field(const std::string& path, const ModelFile& from, Job& job) {
  const Field& field = *find_field(path);
  Job source;
  source.model = from.model;
  std::visit(
      [&](auto* value) {
        *value = *std::get<std::remove_const_t<decltype(value)>>(field.slot(source));
      },
      field.slot(job));
}

}  // namespace weft::runtime
