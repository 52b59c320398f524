// The components of a tokenizer.json beside its model: what they are in our words.
#pragma once

#include "trainer/tokenizer/bpe.h"
#include "trainer/tokenizer/hf_object.h"

namespace weft::trainer::tokenizer {

/// Each reads one member of `root` into `parts`. Errors: as parse_tokenizer.
Expected<void> read_normalizer(const HfObject& root, BpeParts& parts);
Expected<void> read_pre_tokenizer(const HfObject& root, BpeParts& parts);
Expected<void> read_post_processor(const HfObject& root, BpeParts& parts);
Expected<void> check_decoder(const HfObject& root);

}  // namespace weft::trainer::tokenizer
