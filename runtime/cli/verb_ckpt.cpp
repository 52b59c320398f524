#include "runtime/cli/hooks.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {

int verb_ckpt_ls(const CheckpointOptions& options, Io& io) { return checkpoint_ls(options, io); }
int verb_ckpt_show(const CheckpointOptions& options, Io& io) {
  return checkpoint_show(options, io);
}
int verb_ckpt_verify(const CheckpointOptions& options, Io& io) {
  return checkpoint_verify(options, io);
}

}  // namespace weft::cli
