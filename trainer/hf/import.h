// A Hugging Face directory into a checkpoint that a run starts from, one tensor at a time.
#pragma once

#include <string>
#include <vector>

#include "trainer/checkpoint/commit.h"
#include "trainer/hf/export.h"

namespace weft::trainer::hf {

struct ImportOptions {
  std::uint64_t shard_bytes = 5'000'000'000;
  std::string run;        // what the manifest says beside the tensors
  std::string wall_time;  // RFC 3339
  std::string writer;
  std::string state;  // the trainer's own JSON text: where such a run begins
  OnProgress on_progress;
};

struct ImportReport {
  checkpoint::Committed committed;
  std::uint64_t tensors = 0;
  std::uint64_t bytes = 0;
};

/// Commits step 0 into `ckpt_dir`: every weight as F32, no optimizer state. Copies of embedding and
/// head inside next-token modules are compared with the originals and not stored. Memory: one
/// tensor as F32 and as it is stored, two where a copy is compared.
/// Errors: InvalidArgument when `ckpt_dir` holds a checkpoint already or the source is not what
/// `config` describes; Corrupt naming file and tensor, NaN and infinity included; Io.
Expected<ImportReport> import_checkpoint(TensorSource& source, const ModelConfig& config,
                                         const fs::path& ckpt_dir, const ImportOptions& options,
                                         checkpoint::Disk& disk = checkpoint::Disk::real());

}  // namespace weft::trainer::hf
