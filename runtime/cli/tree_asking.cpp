// The verbs that ask something of a run that lives, and those of its nodes.
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "base/units.h"
#include "runtime/cli/verb_tree.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {
namespace {

/// RUN, which has to be said: who is asked to stop is no matter of "the newest".
void add_asked_run(CLI::App* sub, std::string& run) {
  sub->add_option("RUN", run, "A run directory or a name below runs/")->required();
}

void add_nodes(VerbTree& tree) {
  CLI::App* nodes = tree.root().add_subcommand("nodes", "The nodes of a run, and their fitness");
  nodes->footer("weft nodes ls r1-zero-arithmetic");
  nodes->require_subcommand(1);

  auto [ls, l] = tree.verb<NodesOptions>(*nodes, "ls", "Nodes and their state",
                                         "weft nodes ls r1-zero-arithmetic", verb_nodes_ls);
  add_run(ls, l->run);
  add_format(ls, l->format);

  auto [exclude, e] = tree.verb<NodesOptions>(
      *nodes, "exclude", "Use a node no more: save, leave it out, go on with a spare",
      "weft nodes exclude RUN n042 --why 'memory errors' --for 1d", verb_nodes_exclude);
  add_asked_run(exclude, e->run);
  exclude->add_option("NODE", e->node, "As weft nodes ls names it")->required();
  exclude->add_option("--why", e->reason, "The reason, which everybody will see")
      ->type_name("TEXT")
      ->required();
  exclude
      ->add_option_function<std::string>(
          "--for",
          [o = e](const std::string& text) { o->seconds = seconds(*parse_duration(text)); },
          "For so long, such as 30m (default: until it is included again)")
      ->type_name("DURATION")
      ->check([](const std::string& text) {
        const auto length = parse_duration(text);
        return length ? std::string() : length.error().message;
      });

  auto [include, i] =
      tree.verb<NodesOptions>(*nodes, "include", "Let an excluded node be used again",
                              "weft nodes include RUN n042", verb_nodes_include);
  add_asked_run(include, i->run);
  include->add_option("NODE", i->node, "As weft nodes ls names it")->required();

  auto [test, t] = tree.verb<NodesOptions>(
      *nodes, "test", "Check this node as an agent does before it joins; exit 1 when it is not fit",
      "weft nodes test --run /shared/runs/r1", verb_nodes_test);
  test->add_option("--run", t->run, "The run directory that it must be able to write")
      ->type_name("RUN");
  add_format(test, t->format);
}

}  // namespace

void add_asking(VerbTree& tree) {
  auto [cancel, c] =
      tree.verb<AskOptions>(tree.root(), "cancel", "Stop a run after its step, with a checkpoint",
                            "weft cancel r1-zero-arithmetic", verb_cancel);
  add_asked_run(cancel, c->run);
  cancel->add_flag("--now", c->now, "At once: the newest checkpoint stands");
  auto [pause, p] = tree.verb<AskOptions>(
      tree.root(), "pause", "Save, end the workers, and keep the nodes until weft continue",
      "weft pause r1-zero-arithmetic", verb_pause);
  add_asked_run(pause, p->run);
  auto [go_on, g] = tree.verb<AskOptions>(tree.root(), "continue", "Let a paused run go on",
                                          "weft continue r1-zero-arithmetic", verb_continue);
  add_asked_run(go_on, g->run);
  CLI::App* ckpt = tree.root().get_subcommand("ckpt");
  auto [save, s] = tree.verb<AskOptions>(*ckpt, "save", "Take a checkpoint of a run that lives",
                                         "weft ckpt save r1-zero-arithmetic", verb_ckpt_save);
  add_asked_run(save, s->run);
  save->add_option("--at-step", s->at_step, "After this step (default: the present one)")
      ->type_name("N")
      ->check(at_least(1));
  add_nodes(tree);
}

}  // namespace weft::cli
