// weft rehearse and weft drift: predictions lived through, and held against what was measured.
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "runtime/cli/verb_tree.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {

void add_rehearse(VerbTree& tree) {
  auto [sub, o] = tree.verb<RehearseOptions>(
      tree.root(), "rehearse", "The whole run at full scale on simulated time, with faults",
      "weft rehearse deploy/jobs/v3-pretrain.yaml --cluster deploy/clusters/h800-2048.yaml",
      verb_rehearse);
  sub->add_option("JOB", o->job, "The job file")->required();
  add_set(sub, o->set);
  sub->add_option("--cluster", o->cluster, "What it runs on")->type_name("FILE")->required();
  sub->add_option("--seed", o->seed, "The same seed, the same run directory (default: 1)")
      ->type_name("N")
      ->check(at_least(0));
  sub->add_option("--faults", o->faults,
                  "mtbf: drawn from the cluster's failure rate; none; or a script")
      ->type_name("WHAT");
  sub->add_option("--days", o->days, "Simulated days at most (default: 1)")
      ->type_name("D")
      ->check(between(1e-4, 366));
  sub->add_option("--steps", o->steps, "The recipe ends after so many steps")
      ->type_name("N")
      ->check(at_least(1));
  sub->add_option("--spares", o->spares, "Nodes beyond what the job needs (default: 4)")
      ->type_name("N")
      ->check(between(0, 4096));
  sub->add_option("--speed", o->speed,
                  "Simulated seconds a real one, to be watched live (default: as fast as it goes)")
      ->type_name("X")
      ->check(between(1e-3, 1e9));
  sub->add_flag("--swap-stragglers", o->swap_stragglers, "Exchange nodes that are slow");
  sub->add_option("--dir", o->dir, "The run directory (default: runs/<name>-rehearsal)")
      ->type_name("RUNDIR");
  sub->add_flag("-q,--quiet", o->quiet, "No progress, only the result");
  add_format(sub, o->format);

  auto [drift, d] = tree.verb<DriftOptions>(
      tree.root(), "drift", "Phases as recorded beside the time model's, per phase and rank",
      "weft drift RUN --cluster this-host.yaml --calibrate calibrated.yaml", verb_drift);
  add_run(drift, d->run);
  drift
      ->add_option("--cluster", d->cluster,
                   "What it ran on (default: ~/.config/weft/this-host.yaml where that is)")
      ->type_name("FILE");
  drift
      ->add_option("--calibrate", d->write,
                   "Write the cluster's description with rates as measured here")
      ->type_name("FILE");
  add_format(drift, d->format);
}

}  // namespace weft::cli
