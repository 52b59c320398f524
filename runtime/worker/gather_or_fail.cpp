#include "runtime/worker/gather_or_fail.h"

#include <nlohmann/json.hpp>

#include "runtime/control/wire_error.h"

namespace weft::runtime {

using dualpipe::at_place;
using dualpipe::Place;
using nlohmann::json;

Expected<std::vector<std::string>> gather_or_fail(comm::Communicator& world,
                                                  dualpipe::StepRecorder* recorder,
                                                  const Expected<std::string>& mine) {
  json wire = json::object();
  if (mine)
    wire["value"] = *mine;
  else
    put_error(wire, mine.error());
  const std::string said = wire.dump(-1, ' ', false, json::error_handler_t::replace);
  WEFT_TRY_ASSIGN(const auto all, at_place(recorder, Place::Checkpoint,
                                           [&] { return comm::all_gather_text(world, said); }));
  std::vector<std::string> values;
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    const json given = json::parse(all[rank], nullptr, false);
    if (given.is_object() && given.contains("value") && given["value"].is_string()) {
      values.push_back(given["value"]);
      continue;
    }
    return fail_in("rank " + std::to_string(rank), take_error(given));
  }
  return values;
}

Expected<void> all_or_fail(comm::Communicator& world, dualpipe::StepRecorder* recorder,
                           const Expected<void>& mine) {
  WEFT_TRY(gather_or_fail(world, recorder,
                          mine ? Expected<std::string>("") : tl::unexpected(mine.error())));
  return {};
}

Expected<std::string> from_rank_0(comm::Communicator& world, dualpipe::StepRecorder* recorder,
                                  const std::function<Expected<std::string>()>& make) {
  const Expected<std::string> mine =
      world.rank() == 0 ? at_place(recorder, Place::Files, make) : Expected<std::string>("");
  WEFT_TRY_ASSIGN(const auto all, gather_or_fail(world, recorder, mine));
  return all[0];
}

}  // namespace weft::runtime
