// weft bench: one function a benchmark; each has its own verb_bench_<name>.cpp.
#include <fmt/format.h>

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "base/text.h"
#include "runtime/cli/verb_tree.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {
namespace {

constexpr double kBenchSizeMax = 1 << 20;

void add_bench_pipeline(VerbTree& tree, CLI::App& bench) {
  auto [sub, o] = tree.verb<BenchPipelineOptions>(
      bench, "pipeline", "A schedule on virtual devices: makespan and bubble beside predicted",
      "weft bench pipeline --kind dualpipe --ranks 8 --micro-batches 20 --forward-ms 20",
      verb_bench_pipeline);
  sub->add_option("--kind", o->kind, join(kPipelineKinds, ", "))
      ->type_name("KIND")
      ->check(CLI::IsMember(kPipelineKinds));
  const auto whole = [sub = sub](const char* name, int& value, const char* text, const char* type) {
    sub->add_option(name, value, text)->type_name(type)->check(at_least(1));
  };
  whole("--ranks", o->ranks, "Pipeline positions (default: 8)", "P");
  whole("--micro-batches", o->micro_batches,
        "Of one step; dualpipe: both directions together (default: 20)", "N");
  whole("--lanes", o->lanes, "Ranks a position; they exchange with each other (default: 1)", "D");
  whole("--layers", o->layers, "Layers a stage: 2 exchanges a layer and pass (default: 4)", "L");
  whole("--steps", o->steps, "Steps to measure, after one that is not (default: 5)", "S");
  const auto length = [sub = sub](const char* name, double& value, const char* text) {
    sub->add_option(name, value, text)->type_name("MS")->check(between(0, 60'000));
  };
  length("--forward-ms", o->forward_ms, "Forward of one stage (default: 20)");
  length("--backward-input-ms", o->backward_input_ms, "Its backward for input (default: 20)");
  length("--weight-ms", o->weight_ms, "Its weight gradients (default: 20)");
  length("--exchange-ms", o->exchange_ms,
         "Its dispatches and combines of one pass, on the wire (default: 0, none)");
  sub->add_option("--message-bytes", o->message_bytes, "An activation or gradient (default: 4K)")
      ->type_name("BYTES");
  sub->add_option("--dispatch-bytes", o->dispatch_bytes,
                  "A dispatch or combine, to each other lane (default: 4K)")
      ->type_name("BYTES");
  sub->add_option("--transport", o->transport,
                  "local: processes and real time; sim: one process and simulated time")
      ->type_name("NAME")
      ->check(CLI::IsMember({"local", "sim"}));
  sub->add_option_function<std::string>(
         "--overlap", [options = o](const std::string& text) { options->overlap = text == "on"; },
         "on or off: hide exchanges behind the other half of a pair (default: on)")
      ->type_name("WHEN")
      ->check(CLI::IsMember({"on", "off"}));
  add_format(sub, o->format);
}

void add_bench_comm(VerbTree& tree, CLI::App& bench) {
  auto [sub, o] = tree.verb<BenchCommOptions>(
      bench, "comm", "Latency and bandwidth of messages between ranks",
      "weft bench comm --transport local --ranks 4 --bytes 64KiB,1MiB", verb_bench_comm);
  sub->add_option("--transport", o->transport,
                  "local: processes here; tcp: the same over loopback; mpi: the ranks that mpirun "
                  "or srun has started; sim: "
                  "simulated links of 5 us and 10 GB/s")
      ->type_name("NAME")
      ->check(CLI::IsMember({"local", "tcp", "mpi", "sim"}));
  sub->add_option("--ranks", o->ranks, "Ranks (default: 2; mpi: those started)")
      ->type_name("N")
      ->check(between(1, 256));
  sub->add_option("--bytes", o->bytes, "Sizes of a message (default: 64KiB,1MiB,16MiB)")
      ->type_name("LIST")
      ->delimiter(',');
  add_format(sub, o->format);
}

void add_bench_exchange(VerbTree& tree, CLI::App& bench) {
  auto [sub, o] = tree.verb<BenchExchangeOptions>(
      bench, "exchange", "Bytes of the expert exchange by link: one hop beside two",
      "weft bench exchange --experts 256 --top-k 8 --groups 8 --group-limit 4 --nodes 8",
      verb_bench_exchange);
  const auto number = [sub = sub](const char* name, int& value, const char* summary) {
    sub->add_option(name, value, fmt::format("{} (default: {})", summary, value))
        ->type_name("N")
        ->check(between(1, kBenchSizeMax));
  };
  number("--experts", o->experts, "Routed experts");
  number("--top-k", o->top_k, "Experts a token chooses");
  number("--groups", o->groups, "Groups of experts");
  number("--group-limit", o->group_limit, "Groups a token may choose from");
  number("--nodes", o->nodes, "Nodes of the expert group");
  number("--ranks-per-node", o->ranks_per_node, "Its ranks on each node");
  number("--hidden", o->hidden, "Values in a token's row");
  number("--tokens", o->tokens, "Tokens a rank");
  sub->add_option("--payload", o->payload, "How dispatched rows travel: fp8, bf16 or fp32")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"fp8", "bf16", "fp32"}));
  sub->add_option("--seed", o->seed, "Of the simulated routing")->type_name("N");
  add_format(sub, o->format);
}

}  // namespace

void add_benchmarks(VerbTree& tree) {
  CLI::App* bench =
      tree.root().add_subcommand("bench", "Measure weft against a limit or a prediction");
  bench->footer("weft bench pipeline --kind dualpipe --ranks 8 --micro-batches 20");
  bench->require_subcommand(1);
  add_bench_pipeline(tree, *bench);
  add_bench_comm(tree, *bench);
  add_bench_exchange(tree, *bench);
}

}  // namespace weft::cli
