#include "trainer/hf/tensor_source.h"

namespace weft::trainer::hf {

std::string CheckpointSource::name() const { return reader_.directory().string(); }

}  // namespace weft::trainer::hf
