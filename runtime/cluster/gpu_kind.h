// Which shipped description a GPU's rates are in, by the name that its driver has for it.
#pragma once

#include <span>
#include <string>

#include "base/expected.h"
#include "runtime/cluster/gpu_devices.h"
#include "runtime/cluster/shipped_clusters.h"

namespace weft::runtime {

/// NVLinks of a whole GPU; 0: not known, so nothing is said about missing ones. Sources: the data
/// sheets; H800: 200 GB/s each way (its 400 GB/s), 25 a link.
int nvlinks_of(const std::string& kind);

/// The description of these GPUs (one or more), one of `shipped`.
/// Errors: Unsupported, for a kind or form that none is of, for several kinds and for slices of a
/// GPU; with what to do.
Expected<const ShippedCluster*> shipped_kind(std::span<const GpuDevice> devices,
                                             std::span<const ShippedCluster> shipped);

}  // namespace weft::runtime
