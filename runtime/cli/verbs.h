// One function a verb; each lives in verb_<name>.cpp. They print and return the exit code.
#pragma once

#include <filesystem>
#include <string>

#include "runtime/cli/io.h"
#include "runtime/cli/options.h"

namespace weft::cli {

int verb_check(const CheckOptions& options, Io& io);
int verb_explain(const ExplainOptions& options, Io& io);
int verb_schema(Io& io);
int verb_run(const RunOptions& options, Io& io);
int verb_cancel(const AskOptions& options, Io& io);
int verb_pause(const AskOptions& options, Io& io);
int verb_continue(const AskOptions& options, Io& io);
int verb_ckpt_save(const AskOptions& options, Io& io);
int verb_nodes_ls(const NodesOptions& options, Io& io);
int verb_nodes_exclude(const NodesOptions& options, Io& io);
int verb_nodes_include(const NodesOptions& options, Io& io);
int verb_nodes_test(const NodesOptions& options, Io& io);
int verb_agent(const AgentOptions& options, Io& io);
int verb_resume(const ResumeOptions& options, Io& io);
int verb_status(const StatusOptions& options, Io& io);
int verb_ls(const LsOptions& options, Io& io);
int verb_logs(const LogsOptions& options, Io& io);
int verb_events(const EventsOptions& options, Io& io);
int verb_samples(const SamplesOptions& options, Io& io);
int verb_ckpt_ls(const CheckpointOptions& options, Io& io);
int verb_ckpt_show(const CheckpointOptions& options, Io& io);
int verb_ckpt_verify(const CheckpointOptions& options, Io& io);
int verb_ckpt_diff(const CheckpointDiffOptions& options, Io& io);
int verb_ckpt_prune(const PruneOptions& options, Io& io);
int verb_ckpt_pin(const PinOptions& options, Io& io);
int verb_ckpt_unpin(const PinOptions& options, Io& io);
int verb_ckpt_reshard(const ReshardVerbOptions& options, Io& io);
int verb_ckpt_export_hf(const ExportOptions& options, Io& io);
int verb_ckpt_export_gguf(const ExportOptions& options, Io& io);
int verb_ckpt_import_hf(const ImportOptions& options, Io& io);
int verb_generate(const GenerateOptions& options, Io& io);
int verb_schedule(const ScheduleOptions& options, Io& io);
int verb_balance(const BalanceVerbOptions& options, Io& io);
int verb_drift(const DriftOptions& options, Io& io);
int verb_rehearse(const RehearseOptions& options, Io& io);
int verb_bench_comm(const BenchCommOptions& options, Io& io);
int verb_bench_exchange(const BenchExchangeOptions& options, Io& io);
int verb_trace(const TraceOptions& options, Io& io);
int verb_bench_pipeline(const BenchPipelineOptions& options, Io& io);
int verb_model_show(const ModelShowOptions& options, Io& io);
int verb_plan(const PlanVerbOptions& options, Io& io);
int verb_cluster_show(const ClusterShowOptions& options, Io& io);
int verb_cluster_probe(const ClusterProbeOptions& options, Io& io);
int verb_data_show(const DataShowOptions& options, Io& io);
int verb_tokenizer_show(const TokenizerShowOptions& options, Io& io);
int verb_tokenizer_encode(const TokenizerEncodeOptions& options, Io& io);
int verb_tokenizer_decode(const TokenizerDecodeOptions& options, Io& io);
int verb_tokenizer_train(const TokenizerTrainOptions& options, Io& io);
int verb_version(const VersionOptions& options, Io& io);

/// A GGUF file's keys and tensors, as ckpt show prints them.
int show_gguf(const std::string& path, Format format, Io& io);

/// Where an import leaves config.json and tokenizer files, inside a run directory.
inline constexpr const char* kImportedDirectory = "hf";

/// A run directory from what the user typed: a path, a name below runs/, or "" for the newest run
/// there. Errors: NotFound with the nearest name.
Expected<std::filesystem::path> find_run(const std::string& text);

}  // namespace weft::cli
