#include "runtime/worker/file_data.h"

#include <algorithm>

#include "runtime/job/tokenizer.h"

namespace weft::runtime {

namespace corpus = trainer::corpus;
namespace fs = std::filesystem;

namespace {

using Indexes = std::vector<std::shared_ptr<const corpus::Index>>;

class Opener {
 public:
  Opener(const Job& job, const fs::path& directory, const corpus::ProgressFunction& progress)
      : job_(job), directory_(directory), progress_(progress) {}

  Expected<FileData> open() {
    WEFT_TRY_ASSIGN(out_.coder, make_coder(job_));
    const auto runs = [&](const char* stage) {
      return std::ranges::find(job_.recipe, stage) != job_.recipe.end();
    };
    if (runs("pretrain")) WEFT_TRY(stage(out_.pretrain, job_.data.train, false));
    if (runs("cold_start"))
      WEFT_TRY(
          stage(out_.cold_start, job_.data.sft.empty() ? job_.data.train : job_.data.sft, true));
    return std::move(out_);
  }

 private:
  Expected<void> stage(StageData& out, const std::vector<std::string>& sources, bool cold_start) {
    const bool own_validation = !job_.data.validation.empty();
    WEFT_TRY_ASSIGN(const Indexes train, indexes(sources, !own_validation));
    corpus::PackOptions options = pack_options(job_, cold_start);
    WEFT_TRY_ASSIGN(const std::vector<double> weights, parse_weights(job_.data.weights));
    WEFT_TRY_ASSIGN(out.train, corpus::Dataset::open(
                                   train, corpus::Part::Train,
                                   &sources == &job_.data.train ? weights : std::vector<double>(),
                                   *out_.coder, options));
    if (!own_validation && job_.data.validation_fraction == 0) return {};
    options.shuffle = false;
    options.fim_rate = 0;
    if (own_validation) {
      WEFT_TRY_ASSIGN(const Indexes held, indexes(job_.data.validation, false));
      WEFT_TRY_ASSIGN(out.validation,
                      corpus::Dataset::open(held, corpus::Part::Train, {}, *out_.coder, options));
    } else {
      Indexes held = train;
      const auto has_none = [](const auto& index) {
        return index->documents(corpus::Part::Held) == 0;
      };
      std::erase_if(held, has_none);
      if (held.empty())
        return fail(
            Code::InvalidArgument,
            "of the documents of " + sources.front() +
                " none happens to be held out by data.validation_fraction = " +
                std::to_string(job_.data.validation_fraction) +
                ": they are few. Give data.validation its own file, set "
                "data.validation_fraction to 0, or for plain text data.document: paragraph");
      WEFT_TRY_ASSIGN(out.validation,
                      corpus::Dataset::open(held, corpus::Part::Held, {}, *out_.coder, options));
    }
    out.validation_windows = std::min<long long>(job_.data.validation_windows,
                                                 static_cast<long long>(out.validation->windows()));
    return {};
  }

  Expected<Indexes> indexes(const std::vector<std::string>& sources, bool has_held_out) {
    Indexes out;
    for (const std::string& pattern : sources) {
      WEFT_TRY_ASSIGN(auto index, corpus::Index::open(index_spec(job_, pattern, has_held_out),
                                                      directory_, *out_.coder, progress_));
      for (const std::string& warning : index->warnings()) {
        const std::string line = pattern + ": " + warning;
        if (std::ranges::find(out_.warnings, line) == out_.warnings.end())
          out_.warnings.push_back(line);
      }
      out.push_back(std::move(index));
    }
    return out;
  }

  const Job& job_;
  const fs::path& directory_;
  const corpus::ProgressFunction& progress_;
  FileData out_;
};

}  // namespace

std::string FileData::fingerprint() const {
  std::string out;
  for (const StageData* stage : {&pretrain, &cold_start})
    if (stage->train) out += (out.empty() ? "" : " ") + stage->train->fingerprint();
  return out;
}

fs::path data_directory(const Job& job, const fs::path& run) {
  return job.data.cache.empty() ? run / "data" : fs::path(job.data.cache);
}

Expected<std::unique_ptr<corpus::Coder>> make_coder(const Job& job) {
  WEFT_TRY_ASSIGN(const auto tokenizer, open_tokenizer(job));
  return corpus::Coder::make(tokenizer);
}

corpus::IndexSpec index_spec(const Job& job, const std::string& pattern, bool has_held_out) {
  const DataJob& data = job.data;
  corpus::IndexSpec spec;
  spec.pattern = pattern;
  spec.text_key = data.text_key;
  spec.unit = data.document == "paragraph" ? corpus::Unit::Paragraph
              : data.document == "line"    ? corpus::Unit::Line
                                           : corpus::Unit::File;
  spec.answers =
      data.answer_format == "think" ? corpus::AnswerFormat::Think : corpus::AnswerFormat::Plain;
  spec.held_out = has_held_out ? data.validation_fraction : 0;
  spec.skip_bad_lines = data.bad_lines == "skip";
  return spec;
}

corpus::PackOptions pack_options(const Job& job, bool cold_start) {
  corpus::PackOptions options;
  options.packing =
      cold_start || job.data.pack == "sample" ? corpus::Packing::Sample : corpus::Packing::Stream;
  options.context = job.data.context;
  options.bos = job.data.add_bos;
  options.eos = job.data.add_eos;
  options.fim_rate = cold_start ? 0 : job.data.fim_rate;
  options.shuffle = job.data.shuffle;
  options.whole = !cold_start;
  options.seed = job.seed;
  options.stream = cold_start ? 1 : 0;
  return options;
}

Expected<FileData> open_file_data(const Job& job, const fs::path& directory,
                                  const corpus::ProgressFunction& progress) {
  return Opener(job, directory, progress).open();
}

Expected<std::vector<double>> parse_weights(const std::string& text) {
  const auto numbers = parse_stage_factors(text);
  if (numbers) return *numbers;
  return fail(Code::InvalidArgument,
              "data.weights = '" + text + "' is not a list of numbers such as '7 3'");
}

}  // namespace weft::runtime
