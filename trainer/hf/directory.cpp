#include "trainer/hf/directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/text.h"
#include "trainer/hf/index_file.h"
#include "trainer/hf/number_formats.h"

namespace weft::trainer::hf {
namespace {

using checkpoint::Dtype;
using checkpoint::Shape;

constexpr std::uint64_t kConfigBytesMax = 16 << 20;
constexpr std::uint64_t kIndexBytesMax = 256 << 20;
constexpr std::size_t kProblemsShown = 20;

/// All problems as one error, the first so many of them in words.
tl::unexpected<Error> refuse(Code code, const std::string& what,
                             const std::vector<std::string>& problems) {
  std::string text = what;
  for (std::size_t i = 0; i < std::min(problems.size(), kProblemsShown); ++i)
    text += "\n  " + problems[i];
  if (problems.size() > kProblemsShown)
    text += fmt::format("\n  and {} more", problems.size() - kProblemsShown);
  return fail(code, text);
}

std::int64_t blocks(std::int64_t length, int block) { return (length + block - 1) / block; }

/// Layer number of "model.layers.61.…", else -1.
int layer_of(std::string_view tensor) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!tensor.starts_with(kPrefix)) return -1;
  int layer = 0;
  std::size_t at = kPrefix.size();
  for (; at < tensor.size() && tensor[at] >= '0' && tensor[at] <= '9' && layer < 1'000'000; ++at)
    layer = layer * 10 + (tensor[at] - '0');
  return at > kPrefix.size() ? layer : -1;
}

}  // namespace

std::string scale_name(std::string_view weight) { return std::string(weight) + "_scale_inv"; }

Expected<Directory> Directory::open(const fs::path& directory, bool without_next_token,
                                    checkpoint::Disk& disk) {
  Directory result;
  result.path_ = directory;
  const fs::path config_path = directory / "config.json";
  WEFT_TRY_ASSIGN(const std::string text,
                  checkpoint::read_text(disk, config_path, kConfigBytesMax));
  WEFT_TRY_ASSIGN(Parsed parsed, parse_config(text, config_path.string()));
  result.config_ = std::move(parsed.config);
  result.warnings_ = std::move(parsed.warnings);
  WEFT_TRY(result.open_files(disk));
  WEFT_TRY(result.check_tensors(without_next_token));
  return result;
}

Expected<void> Directory::open_one(checkpoint::Disk& disk, const std::string& name) {
  WEFT_TRY_ASSIGN(checkpoint::SafetensorsFile file,
                  checkpoint::SafetensorsFile::open(disk, path_ / name));
  for (const checkpoint::TensorInfo& info : file.header().tensors) {
    const auto [at, fresh] = found_.emplace(info.name, Place{files_.size(), info});
    if (!fresh)
      return fail(Code::Corrupt,
                  fmt::format("{}: tensor '{}' is also in {}", (path_ / name).string(), info.name,
                              files_[at->second.file].name));
  }
  files_.push_back({name, std::move(file)});
  return {};
}

Expected<void> Directory::open_files(checkpoint::Disk& disk) {
  std::error_code error;
  if (!fs::exists(path_ / kIndexFile, error)) {
    const auto opened = open_one(disk, kSingleFile);
    if (!opened && opened.error().code == Code::NotFound)
      return fail(Code::NotFound, path_.string() + " has neither " + kSingleFile + " nor " +
                                      kIndexFile + " (weights in other formats are not read)");
    return opened;
  }
  const fs::path index_path = path_ / kIndexFile;
  WEFT_TRY_ASSIGN(const std::string text, checkpoint::read_text(disk, index_path, kIndexBytesMax));
  const auto index = parse_index(text);
  if (!index) return fail_in(index_path.string(), index.error());
  std::set<std::string> names;
  for (const auto& [tensor, file] : index->weight_map) names.insert(file);
  for (const std::string& name : names) WEFT_TRY(open_one(disk, name));

  std::vector<std::string> problems;
  for (const auto& [tensor, file] : index->weight_map) {
    const auto found = found_.find(tensor);
    if (found == found_.end())
      problems.push_back(fmt::format("{} has no tensor '{}', the index says so", file, tensor));
    else if (files_[found->second.file].name != file)
      problems.push_back(fmt::format("tensor '{}' is in {}, the index says {}", tensor,
                                     files_[found->second.file].name, file));
  }
  std::uint64_t bytes = 0;
  for (const auto& [tensor, place] : found_) {
    bytes += place.info.end - place.info.begin;
    if (!index->weight_map.contains(tensor))
      problems.push_back(
          fmt::format("{}: tensor '{}' is not in the index", files_[place.file].name, tensor));
  }
  if (!problems.empty())
    return refuse(Code::Corrupt,
                  index_path.string() + " contradicts the files beside it:", problems);
  if (index->total_size != 0 && index->total_size != bytes)
    warnings_.push_back(fmt::format("{}: metadata.total_size is {}, the tensors have {} bytes",
                                    kIndexFile, index->total_size, bytes));
  return {};
}

std::string Directory::where(const Place& place) const {
  return fmt::format("{}: tensor '{}'", (path_ / files_[place.file].name).string(),
                     place.info.name);
}

/// What is wrong with an FP8 weight's scales, or nothing.
std::string Directory::check_scale(const Place& weight) const {
  const std::string name = scale_name(weight.info.name);
  if (config_.fp8_block_rows == 0)
    return where(weight) + " is F8_E4M3, but config.json has no quantization_config";
  if (weight.info.shape.size() != 2) return where(weight) + " is F8_E4M3, but no matrix";
  const auto found = found_.find(name);
  if (found == found_.end()) return where(weight) + " is F8_E4M3, but there is no '" + name + "'";
  const Place& scale = found->second;
  const Shape wanted = {blocks(weight.info.shape[0], config_.fp8_block_rows),
                        blocks(weight.info.shape[1], config_.fp8_block_columns)};
  if (scale.info.dtype != Dtype::F32)
    return fmt::format("{} is {}: scales are F32", where(scale),
                       checkpoint::to_string(scale.info.dtype));
  if (scale.info.shape != wanted)
    return fmt::format("{} has shape {}: the scales of {} in blocks of {} x {} have {}",
                       where(scale), checkpoint::to_string(scale.info.shape),
                       checkpoint::to_string(weight.info.shape), config_.fp8_block_rows,
                       config_.fp8_block_columns, checkpoint::to_string(wanted));
  return "";
}

/// What is wrong with a tensor that config.json promises, or nothing.
std::string Directory::check_tensor(const Tensor& wanted) const {
  const auto found = found_.find(wanted.name);
  if (found == found_.end()) return "tensor '" + wanted.name + "' is missing";
  const Place& place = found->second;
  if (place.info.shape != wanted.shape)
    return fmt::format("{} has shape {}, config.json makes it {}", where(place),
                       checkpoint::to_string(place.info.shape),
                       checkpoint::to_string(wanted.shape));
  switch (place.info.dtype) {
    case Dtype::F32:
    case Dtype::BF16:
    case Dtype::F16:
      return "";
    case Dtype::F8_E4M3:
      return check_scale(place);
    default:
      return fmt::format("{} is {}: weights are F32, BF16, F16 or F8_E4M3", where(place),
                         checkpoint::to_string(place.info.dtype));
  }
}

Expected<void> Directory::check_tensors(bool without_next_token) {
  const int layers = config_.num_hidden_layers;
  if (without_next_token) config_.num_nextn_predict_layers = 0;
  std::vector<std::string> problems;
  std::set<std::string, std::less<>> known;
  bool next_token_missing = false;
  for (const Tensor& tensor : tensors_of(config_)) {
    known.insert(tensor.name);
    const auto found = found_.find(tensor.name);
    if (found != found_.end() && found->second.info.dtype == Dtype::F8_E4M3)
      known.insert(scale_name(tensor.name));
    // Some publish these copies, some do not.
    if (found == found_.end() && tensor.stored_again) continue;
    if (std::string problem = check_tensor(tensor); !problem.empty()) {
      next_token_missing |= found == found_.end() && tensor.layer >= layers;
      problems.push_back(std::move(problem));
    }
  }
  for (const auto& [name, place] : found_) {
    if (known.contains(name)) continue;
    const bool next_token = layer_of(name) >= layers;
    if (next_token && without_next_token) continue;
    if (name.ends_with(".rotary_emb.inv_freq")) {  // derived numbers, stored by old writers
      warnings_.push_back(where(place) + " is not needed and was passed over");
      continue;
    }
    problems.push_back(where(place) + " is not part of the model that config.json describes");
  }
  if (problems.empty()) return {};
  return refuse(
      Code::Corrupt,
      path_.string() + ": config.json and weights contradict each other" +
          (next_token_missing ? " (without the next-token modules, --drop-mtp imports the rest):"
                              : ":"),
      problems);
}

Expected<Shape> Directory::shape(std::string_view tensor) {
  const auto found = found_.find(tensor);
  if (found == found_.end())
    return fail(Code::NotFound, path_.string() + " has no tensor '" + std::string(tensor) + "'");
  return found->second.info.shape;
}

Expected<void> Directory::read_fp8(const Place& place, std::span<float> out) {
  const Place& scale = found_.find(scale_name(place.info.name))->second;
  const BlockedShape shape = {place.info.shape[0], place.info.shape[1], config_.fp8_block_rows,
                              config_.fp8_block_columns};
  std::vector<std::uint8_t> codes(out.size());
  std::vector<float> scales(static_cast<std::size_t>(shape.scale_rows() * shape.scale_columns()));
  WEFT_TRY(files_[place.file].content.read(place.info, std::as_writable_bytes(std::span(codes))));
  WEFT_TRY(files_[scale.file].content.read(scale.info, std::as_writable_bytes(std::span(scales))));
  if (const auto good = check_finite(scales); !good) return fail_in(where(scale), good.error());
  dequantize_blocks(shape, codes, scales, out);
  return {};
}

Expected<void> Directory::read(std::string_view tensor, std::span<float> out) {
  const auto found = found_.find(tensor);
  if (found == found_.end())
    return fail(Code::NotFound, path_.string() + " has no tensor '" + std::string(tensor) + "'");
  const Place& place = found->second;
  if (*checkpoint::num_elements(place.info.shape) != out.size())
    return fail(Code::InvalidArgument,
                fmt::format("{} has shape {}, asked for {} elements", where(place),
                            checkpoint::to_string(place.info.shape), out.size()));
  if (place.info.dtype == Dtype::F8_E4M3) {
    WEFT_TRY(read_fp8(place, out));
  } else if (place.info.dtype == Dtype::F32) {
    WEFT_TRY(files_[place.file].content.read(place.info, std::as_writable_bytes(out)));
  } else {
    std::vector<std::byte> bytes(place.info.end - place.info.begin);
    WEFT_TRY(files_[place.file].content.read(place.info, bytes));
    WEFT_TRY(decode(bytes, place.info.dtype, out));
  }
  if (const auto good = check_finite(out); !good) return fail_in(where(place), good.error());
  return {};
}

}  // namespace weft::trainer::hf
