#include "runtime/worker/join_world.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/control/channel.h"

namespace weft::runtime {

using nlohmann::json;

Expected<WorldPlace> WorldPlace::open(int descriptor, const std::string& listen) {
  WEFT_TRY_ASSIGN(comm::LocalWorld node, comm::LocalWorld::attach(descriptor));
  WorldPlace place(std::move(node));
  if (listen.empty()) return place;
  auto far = comm::TcpWorld::listen(listen);
  // The agent could listen there when it began: the node is at fault now, and not the job.
  if (!far) return fail(Code::Unavailable, far.error().message);
  place.far_ = std::move(*far);
  return place;
}

Expected<std::unique_ptr<comm::Transport>> WorldPlace::join(int rank, const Job& job,
                                                            const json& assignment) {
  if (!far_) return node_.join(rank);
  comm::TcpWorldOptions options;
  try {
    const json& world = assignment.at("world");
    options.run = world.at("run").get<std::string>();
    options.generation = assignment.at("attempt").get<std::uint64_t>();
    options.endpoints = world.at("addresses").get<std::vector<std::string>>();
    options.node_of_rank.assign(options.endpoints.size(), 1);
    for (const json& here : world.at("ranks_here"))
      options.node_of_rank.at(here.get<std::size_t>()) = 0;
    WEFT_TRY_ASSIGN(options.secret, parse_secret(world.at("secret").get<std::string>()));
  } catch (const std::exception& error) {
    return fail(Code::Corrupt, std::string("the assignment names no world: ") + error.what());
  }
  const auto world_size =
      static_cast<std::size_t>(job.parallel.pipeline) * static_cast<std::size_t>(job.parallel.data);
  if (options.endpoints.size() != world_size)
    return fail(Code::Corrupt, "the assignment has " + std::to_string(options.endpoints.size()) +
                                   " addresses for " + std::to_string(world_size) + " ranks");
  options.rank = rank;
  options.node = &node_;
  options.join_bound =
      std::chrono::milliseconds(static_cast<std::int64_t>(job.control.wait_bound_s * 1e3));
  return far_->join(options);
}

}  // namespace weft::runtime
