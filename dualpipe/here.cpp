// Where a rank stands, in words.
#include "dualpipe/flow.h"
#include "dualpipe/record.h"
#include "dualpipe/stage.h"

namespace weft::dualpipe {
namespace {

/// "experts backward (weights) of layer 1"
std::string phase_text(const Here& here) {
  std::string text(to_string(static_cast<PhaseKind>(here.phase)));
  if (here.backward) text += " backward";
  const Part part = static_cast<Part>(here.part);
  if (part == Part::Weights) text += " (weights)";
  if (part == Part::Again) text += " again";
  return here.layer < 0 ? text : text + " of layer " + std::to_string(here.layer);
}

std::string work_text(const Here& here) {
  const Op op = static_cast<Op>(here.op);
  const std::string name(to_string(op));
  if (op == Op::Update || op == Op::Snapshot) return name;
  if (op == Op::Reduce) return "Reduce of stage " + std::to_string(here.stage);
  const std::string chunk = describe(Chunk{here.direction, here.stage, here.micro_batch});
  if (here.turn == 0 || !is_compute(op)) return name + " " + chunk;
  return name + " " + chunk + ", " + phase_text(here);
}

}  // namespace

std::string_view to_string(Program program) {
  constexpr std::string_view kNames[] = {"none", "train", "score", "rollout"};
  const auto i = static_cast<std::size_t>(program);
  return i < std::size(kNames) ? kNames[i] : "?";
}

std::string_view to_string(Place place) {
  constexpr std::string_view kNames[] = {"none",
                                         "the reduction of shared gradients",
                                         "the sum over all ranks",
                                         "the spreading of new weights",
                                         "the exchange of drawn tokens",
                                         "the sums of a scoring pass",
                                         "the rewards from rank 0",
                                         "the agreement on a checkpoint",
                                         "the begin of a step",
                                         "the replicas of experts",
                                         "the drawing of tokens",
                                         "a checkpoint's files"};
  const auto i = static_cast<std::size_t>(place);
  return i < std::size(kNames) ? kNames[i] : "?";
}

std::string describe(const Here& here) {
  const Chunk chunk{here.direction, here.stage, here.micro_batch};
  const Op op = static_cast<Op>(here.op);
  const bool gradient = op == Op::SendB || op == Op::RecvB;
  const std::string from = " position " + std::to_string(here.peer);
  switch (here.doing) {
    case Here::Doing::Idle:
      return "is between passes";
    case Here::Doing::WaitsReceive:
      return std::string("waits for the ") + (gradient ? "gradient" : "activation") + " for " +
             describe(chunk) + " from" + from;
    case Here::Doing::WaitsSend:
      return "waits until" + from + " has taken the " + (gradient ? "gradient" : "activation") +
             " of " + describe(chunk);
    case Here::Doing::Exchanges:
      return "is at the end of " + std::string(to_string(static_cast<PhaseKind>(here.phase))) +
             " of " + describe(chunk) + ", with the other lanes";
    case Here::Doing::Meets:
      return "meets all ranks in " + std::string(to_string(here.place));
    case Here::Doing::Works:
      break;
  }
  if (here.place != Place::None) return "is at " + std::string(to_string(here.place));
  return "is at " + work_text(here);
}

}  // namespace weft::dualpipe
