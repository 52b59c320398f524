// Shared memory between the processes of one host. The memory has no name (memfd), so nothing can
// be left behind, however a process dies.
#pragma once

#include <memory>
#include <string_view>

#include "comm/communicator.h"

namespace weft::comm {

/// The world's shared memory, made by the parent before it starts its ranks. The descriptor is
/// inherited (it is not close-on-exec); pass its number to each child.
/// Threads: any.
class LocalWorld {
 public:
  /// Errors: InvalidArgument (size < 1 or > 1024), Io (no memory or address space).
  static Expected<LocalWorld> create(int world_size);
  /// In a child: maps what the parent made. From then on the descriptor closes on exec, and the
  /// child may close it. Errors: Corrupt when the descriptor is something else.
  static Expected<LocalWorld> attach(int descriptor);

  LocalWorld(LocalWorld&&) noexcept;
  LocalWorld& operator=(LocalWorld&&) noexcept;
  ~LocalWorld();

  int descriptor() const;
  int world_size() const;

  /// Ends every wait of every rank at once with Unavailable and `reason` (the first caller's reason
  /// stays). The parent calls it when a rank dies.
  void abort(std::string_view reason);
  bool aborted() const;

  /// This process's access as `world_rank`, which can be taken once in the life of a world. The
  /// transport keeps the mapping alive by itself. Errors: InvalidArgument.
  Expected<std::unique_ptr<Transport>> join(int world_rank) const;

  struct Mapping;  // internal to comm
  /// The first half of join: `world_rank` is taken.
  Expected<std::shared_ptr<Mapping>> take(int world_rank) const;

 private:
  explicit LocalWorld(std::shared_ptr<Mapping> mapping);
  std::shared_ptr<Mapping> mapping_;
};

}  // namespace weft::comm
