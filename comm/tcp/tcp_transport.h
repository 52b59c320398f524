// Groups over links and shared memory. Internal to comm/tcp.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "comm/tcp/tcp_rank.h"

namespace weft::comm {

/// near[r]: rank r's rank in our node's shared memory, or -1. `bound`: for all ranks to name their
/// groups.
std::unique_ptr<Transport> make_tcp_transport(std::shared_ptr<TcpRank> rank, std::vector<int> near,
                                              std::chrono::milliseconds bound);

}  // namespace weft::comm
