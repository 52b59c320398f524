#include "runtime/coordinator/messages.h"

namespace weft::runtime {

const char* to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::Undecided:
      return "undecided";
    case Outcome::Finished:
      return "finished";
    case Outcome::Stopped:
      return "stopped";
    case Outcome::Failed:
      return "failed";
  }
  return "?";
}

const char* to_string(WorkerPhase phase) {
  switch (phase) {
    case WorkerPhase::Starting:
      return "starting";
    case WorkerPhase::Ready:
      return "ready";
    case WorkerPhase::Working:
      return "working";
    case WorkerPhase::Done:
      return "done";
    case WorkerPhase::Failed:
      return "failed";
  }
  return "?";
}

const char* to_string(Activity activity) {
  switch (activity) {
    case Activity::Loading:
      return "loading";
    case Activity::Stepping:
      return "stepping";
    case Activity::Saving:
      return "saving";
    case Activity::Other:
      return "other";
  }
  return "?";
}

const char* to_string(Wanted wanted) {
  switch (wanted) {
    case Wanted::Idle:
      return "idle";
    case Wanted::Prepare:
      return "prepare";
    case Wanted::Work:
      return "work";
    case Wanted::Leave:
      return "leave";
  }
  return "?";
}

bool same_but_number(const Order& a, const Order& b) {
  return a.term == b.term && a.generation == b.generation && a.wanted == b.wanted &&
         a.ranks == b.ranks && a.resume == b.resume && a.addresses == b.addresses &&
         a.stop == b.stop && a.save == b.save && a.hard == b.hard && a.outcome == b.outcome &&
         a.reason == b.reason;
}

}  // namespace weft::runtime
