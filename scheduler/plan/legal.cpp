#include "scheduler/plan/legal.h"

#include "base/text.h"

namespace weft::scheduler {
namespace {

std::string number(long long n) { return std::to_string(n); }

bool counts_are_sane(const Layout& l) {
  return l.pipeline >= 1 && l.data >= 1 && l.expert >= 1 && l.micro_batches >= 1 &&
         1LL * l.pipeline * l.data <= kLayoutMax;
}

bool schedule_allows(const Layout& l) {
  return dualpipe::check_size(l.kind, {l.pipeline, l.micro_batches}).has_value();
}

}  // namespace

std::vector<std::string> layout_problems(const Work& work) {
  const Layout& l = work.layout;
  std::vector<std::string> out;
  if (!counts_are_sane(l)) {
    out.push_back("parallel.pipeline = " + number(l.pipeline) + " x parallel.data = " +
                  number(l.data) + " must be 1 to " + number(kLayoutMax) + " ranks");
    return out;
  }
  if (l.data % l.expert != 0)
    out.push_back("parallel.expert = " + number(l.expert) + " must divide parallel.data = " +
                  number(l.data) + ": the expert shards are lanes of one stage group");
  if (l.expert > 1 && work.model.experts % l.expert != 0)
    out.push_back("parallel.expert = " + number(l.expert) + " does not divide the model's " +
                  number(work.model.experts) + " experts");
  if (const auto size = dualpipe::check_size(l.kind, {l.pipeline, l.micro_batches}); !size)
    out.push_back(size.error().message);
  const int stages = dualpipe::num_stages(l.kind, l.pipeline);
  if (stages > work.model.layers)
    out.push_back("the model's " + number(work.model.layers) + " layers are fewer than the " +
                  number(stages) + " stages of " + std::string(dualpipe::to_string(l.kind)) +
                  " over " + number(l.pipeline) + " positions");
  if (work.model.tied && stages > 1)
    out.push_back(
        "the embedding is also the head (model.tie_word_embeddings), so both must be on "
        "one stage: parallel.pipeline = " +
        number(l.pipeline) + " makes " + number(stages));
  return out;
}

bool legal(const Work& work) {
  const Layout& l = work.layout;
  if (!counts_are_sane(l) || l.data % l.expert != 0) return false;
  if (l.expert > 1 && work.model.experts % l.expert != 0) return false;
  const int stages = dualpipe::num_stages(l.kind, l.pipeline);
  if (stages > work.model.layers || (work.model.tied && stages > 1)) return false;
  return schedule_allows(l);
}

}  // namespace weft::scheduler
