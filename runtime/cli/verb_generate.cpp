#include <algorithm>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "runtime/cli/render.h"
#include "runtime/cli/run_directory.h"
#include "runtime/cli/verbs.h"
#include "runtime/job/load.h"
#include "runtime/job/tokenizer.h"
#include "runtime/store/run_store.h"
#include "runtime/worker/engine.h"
#include "runtime/worker/recipe.h"
#include "trainer/data/example.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace runtime;
namespace data = trainer::data;

struct Answer {
  std::string text;
  Completion completion;
};

/// A model may write anything, and a terminal obeys control characters.
std::string harmless(std::string text) {
  std::ranges::replace_if(
      text, [](unsigned char c) { return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f; }, '?');
  return text;
}

/// One process, one rank: any layout's checkpoint is read by name.
Expected<std::vector<Answer>> answer(const cli::GenerateOptions& options, const std::string& prompt,
                                     Io& io) {
  WEFT_TRY_ASSIGN(const std::filesystem::path run, find_run(options.run));
  if (is_rehearsal(run))
    return fail(Code::InvalidArgument,
                run.string() + " is a rehearsal: there is no model in it to generate with");
  const RunPaths paths{run};
  const Loaded loaded = load_job(paths.resolved(), {.overrides = {}, .check_files = false});
  if (!loaded.ok())
    return fail(Code::Corrupt,
                paths.resolved().string() + " cannot be read:\n" + print(loaded.diagnostics, {}));
  const Job& job = loaded.job;
  WEFT_TRY_ASSIGN(const data::Tokenizer tokenizer, open_tokenizer(job));
  // Text models have never seen the begin token.
  const std::vector<std::int32_t> tokens = job.data.task == "text" && !tokenizer.chat()
                                               ? tokenizer.encode(prompt)
                                               : data::prompt_tokens(tokenizer, prompt);
  const int room = job.model.max_position_embeddings - static_cast<int>(tokens.size());
  if (tokens.empty())
    return fail(Code::InvalidArgument,
                "the prompt is empty: this model goes on with a text, so give "
                "it one by --prompt");
  if (room <= 0)
    return fail(Code::InvalidArgument,
                "the prompt has " + std::to_string(tokens.size()) +
                    " tokens, and the model holds " +
                    std::to_string(job.model.max_position_embeddings) +
                    " together with the completion (model.max_position_embeddings); shorten it");
  EngineOptions engine_options;
  engine_options.model = job.model;
  engine_options.max_tokens = static_cast<int>(tokens.size()) * options.count + 16;
  const auto transport = comm::make_self_transport();
  WEFT_TRY_ASSIGN(const auto engine, Engine::create(*transport, engine_options));
  WEFT_TRY_ASSIGN(const Engine::Loaded from, engine->load(paths.checkpoints(), options.checkpoint));
  for (const std::string& one : from.skipped) io.err << "weft: " << one << "\n";
  if (from.name.empty())
    return fail(Code::NotFound, "no complete checkpoint in " + paths.checkpoints().string() +
                                    "; let the run reach its first one");
  runtime::GenerateOptions generate;
  generate.max_new_tokens = std::min(options.max_tokens, room);
  generate.temperature = options.temperature;
  generate.end_token = tokenizer.eos();
  generate.seed = options.seed;
  generate.purpose = "generate";
  const std::vector<std::vector<std::int32_t>> prompts(options.count, tokens);
  WEFT_TRY_ASSIGN(std::vector<Completion> completions, engine->generate(prompts, generate));
  std::vector<Answer> answers;
  for (Completion& completion : completions) {
    std::vector<std::int32_t> text = completion.tokens;
    if (completion.finished) text.pop_back();
    answers.push_back({tokenizer.decode(text), std::move(completion)});
  }
  return answers;
}

}  // namespace

int verb_generate(const cli::GenerateOptions& options, Io& io) {
  std::string prompt = options.prompt;
  if (prompt == "-") prompt.assign(std::istreambuf_iterator<char>(io.in), {});
  const auto answers = answer(options, prompt, io);
  if (!answers) {
    // What the caller asked wrongly here is the command line, not a job.
    const int code = report(answers.error(), io);
    return code == kConfiguration ? kUsage : code;
  }
  if (options.format == Format::Table) {
    for (const Answer& one : *answers)
      io.out << (io.out_tty ? harmless(one.text) : one.text) << "\n";
    return kOk;
  }
  std::vector<json> records;
  for (const Answer& one : *answers)
    records.push_back({{"prompt", prompt},
                       {"completion", one.text},
                       {"tokens", one.completion.tokens},
                       {"logprobs", one.completion.logprobs},
                       {"finished", one.completion.finished}});
  print_list(io, options.format, "generate", records, {}, "completion");
  return kOk;
}

}  // namespace weft::cli
