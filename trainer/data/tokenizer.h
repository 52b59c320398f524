// The tokenizer under the name that data's files use.
#pragma once

#include "trainer/tokenizer/tokenizer.h"

namespace weft::trainer::data {

using tokenizer::Tokenizer;

}  // namespace weft::trainer::data
