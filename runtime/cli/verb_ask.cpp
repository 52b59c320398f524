// `weft cancel`, `pause`, `continue`, `ckpt save`: what a person asks of a run that lives.
#include <ostream>

#include "runtime/cli/ask_run.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {

using runtime::RunRequest;

int verb_cancel(const AskOptions& options, Io& io) {
  RunRequest request;
  request.kind = options.now ? RunRequest::Kind::StopNow : RunRequest::Kind::Stop;
  const int code = ask_run(options.run, request, io);
  if (code == kOk) io.err << "It can be resumed: weft resume " << options.run << "\n";
  return code;
}

int verb_pause(const AskOptions& options, Io& io) {
  RunRequest request;
  request.kind = RunRequest::Kind::Pause;
  const int code = ask_run(options.run, request, io);
  if (code == kOk)
    io.err << "Its workers end and its nodes stay. Go on with: weft continue " << options.run
           << "\n";
  return code;
}

int verb_continue(const AskOptions& options, Io& io) {
  RunRequest request;
  request.kind = RunRequest::Kind::Continue;
  return ask_run(options.run, request, io);
}

int verb_ckpt_save(const AskOptions& options, Io& io) {
  RunRequest request;
  request.kind = RunRequest::Kind::Save;
  request.at_step = options.at_step;
  const int code = ask_run(options.run, request, io);
  if (code == kOk) io.err << "See it come: weft ckpt ls " << options.run << "\n";
  return code;
}

}  // namespace weft::cli
