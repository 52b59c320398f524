// Small real runs on this machine: coordinator, agent and workers as weft run starts them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/expected.h"
#include "runtime/cluster/fit_runs.h"

namespace weft::runtime {

/// A small job; one micro-batch a lane has two sequences: of the arithmetic task, which differ in
/// length, or of a text, which do not.
struct RunShape {
  int hidden = 128, heads = 8, layers = 2;
  int pipeline = 1, data = 1, expert = 1, micro_batches = 2;
  const char* schedule = "1f1b";
  bool text = false;
  int world() const { return pipeline * data; }
};

/// Shapes that a machine for so many workers is probed with: as many workers, and as few as have a
/// core each. None of them is a job that is shipped.
std::vector<RunShape> probe_shapes(int workers, int cores);

/// The job file; `text`: the file that a job of one reads.
std::string job_text(const RunShape& shape, int steps, const std::string& text);

/// Words of a text to learn, always the same.
std::string words_to_learn();

/// Runs it with `program` (weft) below `scratch`, which is emptied of it again, and says what a
/// step took. `expected`: seconds that a step will take, about; the run lasts `seconds` beside its
/// start. Errors: Unavailable when the run fails or does not end, with what it wrote; Io.
Expected<RunStep> run_shape(const RunShape& shape, const std::string& program,
                            const std::filesystem::path& scratch, double expected, double seconds);

}  // namespace weft::runtime
