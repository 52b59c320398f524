// weft plan and weft cluster.
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "runtime/cli/verb_tree.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {

void add_planning(VerbTree& tree) {
  auto [plan, o] = tree.verb<PlanVerbOptions>(
      tree.root(), "plan", "What a job will need, take and cost on a cluster, and why",
      "weft plan deploy/jobs/v3-pretrain.yaml --cluster deploy/clusters/h800-2048.yaml", verb_plan);
  plan->add_option("JOB", o->target, "A job file, a run, or an earlier plan (.json)")->required();
  plan->add_option("--cluster", o->cluster, "The cluster's description; see deploy/clusters")
      ->type_name("FILE");
  plan->add_flag("--search", o->search, "The ten best layouts of these GPUs instead");
  plan->add_option(
          "--what-if", o->what_if,
          "Change inputs: nodes=-2,expert=32,checkpoint=5m,gpu.memory=96GB; also pipeline, "
          "data, micro_batches, micro_batch_sequences, schedule, recompute, precision, "
          "steps, straggler, load_variation and any figure of weft cluster show")
      ->type_name("LIST");
  plan->add_flag("--calibrate", o->calibrate,
                 "JOB is a run: print --cluster's description with rates as its trace has them");
  add_set(plan, o->set);
  add_format(plan, o->format);

  CLI::App* cluster =
      tree.root().add_subcommand("cluster", "Look at a cluster's description, or make one");
  cluster->footer("weft cluster show deploy/clusters/h800-2048.yaml");
  cluster->require_subcommand(1);
  auto [show, s] = tree.verb<ClusterShowOptions>(
      *cluster, "show", "Every figure with its unit and source",
      "weft cluster show deploy/clusters/h800-2048.yaml", verb_cluster_show);
  show->add_option("FILE", s->file, "The description")->required();
  add_format(show, s->format);
  auto [probe, p] = tree.verb<ClusterProbeOptions>(
      *cluster, "probe", "Write this machine's description: its GPUs, or its processor as measured",
      "weft cluster probe -o this-host.yaml", verb_cluster_probe);
  probe->add_option("-o,--output", p->output, "The file (default: stdout)")->type_name("FILE");
  probe->add_flag("--cpu", p->cpu, "Measure the processor, where there are GPUs too");
  probe->add_option("--workers", p->workers, "Workers that compute at once (default: 4)")
      ->type_name("N")
      ->check(between(1, 64));
  probe->add_option("--seconds", p->seconds, "Of each measurement (default: 0.5)")
      ->type_name("S")
      ->check(between(0.01, 60));
}

}  // namespace weft::cli
