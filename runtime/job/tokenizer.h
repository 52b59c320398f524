// The tokenizer that a job asks for.
#pragma once

#include "runtime/job/job.h"
#include "trainer/tokenizer/tokenizer.h"

namespace weft::runtime {

/// With the job's chat template. Errors: those of the file; InvalidArgument when the model has no
/// room for its ids, or the template's tokens are not there.
Expected<trainer::tokenizer::Tokenizer> open_tokenizer(const Job& job);

}  // namespace weft::runtime
