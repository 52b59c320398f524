// Which leaf switch (or rack) a node hangs on, as its flag, its environment or Slurm says.
#pragma once

#include <string>

namespace weft::runtime {

/// The first of: `given`; WEFT_LEAF; under Slurm with a tree topology, the switches in
/// SLURM_TOPOLOGY_ADDR ("s0.s3.node17" -> "s0.s3"). "": nobody says.
std::string leaf_of_node(const std::string& given);

/// The switches of an address whose parts are what `pattern` ("switch.switch.node") says; "" where
/// the last part is no node or there is no switch.
std::string switches_of(const std::string& address, const std::string& pattern);

}  // namespace weft::runtime
