// The table's last chapter: the virtual device.
#include "runtime/job/fields.h"

#define WEFT_AT(member) [](Job& job) -> Slot { return &job.virtual_device.member; }

namespace weft::runtime {
namespace {

constexpr auto kMay = OnResume::MayChange;
constexpr Range kMilliseconds = {0, 60'000};
constexpr double kBytesMax = 64 << 20;

void add_lengths(std::vector<Field>& out) {
  out.push_back({.path = "virtual.forward_ms",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(forward_ms),
                 .range = kMilliseconds,
                 .unit = "milliseconds",
                 .help = "Compute of one micro-batch's forward through one stage, all its layers.",
                 .interacts = "virtual.stage_factors multiplies it; virtual.attention_share and "
                              "virtual.layers cut it into phases",
                 .example = "20",
                 .on_resume = kMay});
  out.push_back({.path = "virtual.backward_input_ms",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(backward_input_ms),
                 .range = kMilliseconds,
                 .unit = "milliseconds",
                 .help = "Compute of the backward for the input (BI). A full backward (B) takes "
                         "this and virtual.weight_ms.",
                 .interacts = "virtual.weight_ms, virtual.stage_factors",
                 .example = "20",
                 .on_resume = kMay});
  out.push_back({.path = "virtual.weight_ms",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(weight_ms),
                 .range = kMilliseconds,
                 .unit = "milliseconds",
                 .help = "Compute of the weight gradients (W).",
                 .interacts = "virtual.backward_input_ms, virtual.stage_factors",
                 .example = "20",
                 .on_resume = kMay});
  out.push_back({.path = "virtual.exchange_ms",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(exchange_ms),
                 .range = kMilliseconds,
                 .unit = "milliseconds",
                 .help = "Time on the wire of all dispatches and combines of one pass through one "
                         "stage together; a rank's wire carries one at a time. 0: the stages have "
                         "no experts and exchange nothing.",
                 .interacts = "virtual.layers cuts it into 2 x layers exchanges; parallel.overlap "
                              "hides it behind an overlapped pair's compute",
                 .example = "30",
                 .on_resume = kMay});
  out.push_back({.path = "virtual.reduce_ms",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(reduce_ms),
                 .range = kMilliseconds,
                 .unit = "milliseconds",
                 .help = "Time of the gradient reduction of one stage, after the real sum of "
                         "virtual.reduce_bytes over the ranks that hold it.",
                 .interacts = "virtual.reduce_bytes; not part of a step's makespan",
                 .example = "5",
                 .on_resume = kMay});
  out.push_back({.path = "virtual.update_ms",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(update_ms),
                 .range = kMilliseconds,
                 .unit = "milliseconds",
                 .help = "Time of the optimizer step.",
                 .interacts = "nothing; not part of a step's makespan",
                 .example = "5",
                 .on_resume = kMay});
}

void add_shape(std::vector<Field>& out) {
  out.push_back({.path = "virtual.layers",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(layers),
                 .range = {1, 256},
                 .unit = "a stage",
                 .help = "Layers of a stage: into so many attention and experts phases, dispatches "
                         "and combines a pass is cut.",
                 .interacts = "virtual.exchange_ms: more layers overlap more finely",
                 .example = "4",
                 .on_resume = kMay});
  out.push_back({.path = "virtual.attention_share",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(attention_share),
                 .range = {0, 1},
                 .unit = "of a layer's compute",
                 .help = "This share of each layer's compute is attention, the rest the experts.",
                 .interacts = "virtual.exchange_ms: how well exchanges hide depends on it",
                 .example = "0.5",
                 .on_resume = kMay});
  out.push_back({.path = "virtual.stage_factors",
                 .type = FieldType::Text,
                 .slot = WEFT_AT(stage_factors),
                 .help = "Stages of unequal length: one number a stage, separated by blanks, that "
                         "multiplies its compute. Empty: all 1.",
                 .interacts = "parallel.schedule and parallel.pipeline set the number of stages",
                 .example = "1 1.5 1 0.5",
                 .on_resume = kMay});
}

void add_bytes(std::vector<Field>& out) {
  out.push_back({.path = "virtual.message_bytes",
                 .type = FieldType::Count,
                 .slot = WEFT_AT(message_bytes),
                 .range = {64, kBytesMax},
                 .unit = "bytes",
                 .help = "Size of an activation or gradient on its way between two stages. Such "
                         "messages are real, and each is checked to be the one that was due.",
                 .interacts = "no time is given for it: it takes what the transport takes",
                 .example = "64K",
                 .on_resume = kMay});
  out.push_back({.path = "virtual.dispatch_bytes",
                 .type = FieldType::Count,
                 .slot = WEFT_AT(dispatch_bytes),
                 .range = {0, kBytesMax},
                 .unit = "bytes",
                 .help = "Real bytes of one dispatch or combine to each other lane of the expert "
                         "group. An exchange ends when both they and its time on the wire are "
                         "through.",
                 .interacts = "virtual.exchange_ms: 0 leaves exchanges out; parallel.expert: with "
                              "1 there is no other lane",
                 .example = "64K",
                 .on_resume = kMay});
  out.push_back({.path = "virtual.reduce_bytes",
                 .type = FieldType::Count,
                 .slot = WEFT_AT(reduce_bytes),
                 .range = {0, kBytesMax},
                 .unit = "bytes",
                 .help = "Real bytes of a stage's gradients, summed over the ranks that hold it.",
                 .interacts = "virtual.reduce_ms",
                 .example = "64K",
                 .on_resume = kMay});
}

}  // namespace

void add_virtual_fields(std::vector<Field>& out) {
  out.push_back({.path = "virtual.steps",
                 .type = FieldType::Count,
                 .slot = WEFT_AT(steps),
                 .range = {1, 1e9},
                 .unit = "steps",
                 .help = "So many steps, then the run has finished.",
                 .interacts = "device: virtual",
                 .example = "5",
                 .on_resume = kMay});
  add_lengths(out);
  add_shape(out);
  add_bytes(out);
}

}  // namespace weft::runtime
