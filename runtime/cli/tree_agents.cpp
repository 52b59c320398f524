// The verbs of runs that several nodes share.
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "runtime/cli/verb_tree.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {

void add_agents(VerbTree& tree) {
  auto [sub, o] = tree.verb<AgentOptions>(
      tree.root(), "agent", "This node's part in a run that several nodes share",
      "weft agent --run /shared/runs/r1 --node n042 --listen 10.0.0.42", verb_agent);
  sub->add_option("--run", o->run, "The shared run directory, made by weft run --prepare")
      ->type_name("RUN")
      ->required();
  sub->add_option("--node", o->node, "This node's name (default: the host's)")->type_name("NAME");
  sub->add_option("--listen", o->listen,
                  "The address at which the other nodes reach this one (default: 127.0.0.1)")
      ->type_name("HOST");
  sub->add_option("--slots", o->slots, "Workers that this node can hold (default: all)")
      ->type_name("N")
      ->check(at_least(1));
  sub->add_option("--roster", o->roster, "This node's place among the nodes: who leads first")
      ->type_name("N")
      ->check(at_least(0));
  sub->add_option("--leaf", o->leaf,
                  "The switch or rack that this node hangs on: expert groups stay under one, where "
                  "all nodes say it (default: WEFT_LEAF, or as Slurm says)")
      ->type_name("NAME");
  sub->add_option("--metrics", o->metrics,
                  "Serve this node's metrics for Prometheus at HOST:PORT, or PORT on loopback")
      ->type_name("HOST:PORT");
  sub->add_flag("-q,--quiet", o->quiet, "Only errors");
}

}  // namespace weft::cli
