// Where everything of a run lives: rank -> pipeline position, lane, expert shard, stages; stage ->
// layers; and the groups of ranks that talk to each other. A value made by a pure function.
#pragma once

#include <string>
#include <vector>

#include "base/expected.h"
#include "dualpipe/schedule.h"

namespace weft::scheduler {

struct Layout {
  dualpipe::Kind kind = dualpipe::Kind::OneFOneB;
  int pipeline = 1;       // P: pipeline positions
  int data = 1;           // D: ranks per stage group (lanes)
  int expert = 1;         // E: of the D, so many share the experts; divides D
  int micro_batches = 1;  // per lane and step; DualPipe: both directions together
  int world() const { return pipeline * data; }
  friend bool operator==(const Layout&, const Layout&) = default;
};

/// A contiguous part of the model.
struct StageLayers {
  int first = 0;
  int count = 0;
  int next_token = 0;  // last stage: multi-token prediction modules behind its layers
  friend bool operator==(const StageLayers&, const StageLayers&) = default;
};

struct RankPlace {
  int rank = 0;  // position * D + lane
  int position = 0;
  int lane = 0;
  int expert_shard = 0;     // lane % E
  std::vector<int> stages;  // index = direction for DualPipe, else ascending
  friend bool operator==(const RankPlace&, const RankPlace&) = default;
};

struct Group {
  std::string name;
  std::vector<int> ranks;  // ascending
};

struct Placement {
  Layout layout;
  std::vector<RankPlace> ranks;
  std::vector<StageLayers> stages;

  int num_stages() const { return static_cast<int>(stages.size()); }
  /// The ranks that hold a stage: with DualPipe those of both positions.
  std::vector<int> holders(int stage) const;
};

/// Layers are spread as evenly as they go; where they do not divide, the middle stages take more,
/// because the first also holds the embedding and the last the head. Multi-token prediction modules
/// (`next_token`) are blocks of the last stage and count as such, so that it gets fewer layers.
/// Errors: InvalidArgument naming what does not fit and what would.
Expected<Placement> place(const Layout& layout, int num_layers, int next_token = 0);

// Every group of a placement, in the order in which all ranks create them.
std::string world_group();
std::string pipeline_group(int lane);               // rank in it = position
std::string expert_group(int position, int index);  // together hold all experts; index = lane / E
std::string dense_group(int stage);                 // replicas of the stage's dense weights
std::string replica_group(int stage, int shard);    // replicas of one expert shard of the stage
std::string embedding_group();                      // holders of the first or the last stage; only
                                                    // where multi-token prediction needs it
std::vector<Group> groups(const Placement& placement);

/// Which of the global batch's micro-batches (lane-major, then direction, then index) is chunk
/// (direction, index) of this lane.
int micro_batch_index(const Layout& layout, int lane, int direction, int index);

}  // namespace weft::scheduler
