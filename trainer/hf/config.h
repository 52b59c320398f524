// Hugging Face's config.json, read into a ModelConfig and written from one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "trainer/model/config.h"

namespace weft::trainer::hf {

struct Parsed {
  ModelConfig config;  // what the file says nothing of and the model has no use for is 0
  std::vector<std::string> warnings;  // a field each: not understood, or without effect here
};

/// Reads the text of a config.json. `name` is for messages.
/// Errors: InvalidArgument with every problem at once, a line each: no JSON, duplicate keys, a
/// missing field, a value of the wrong kind or range, fields that contradict each other, a kind of
/// model that is not one of ModelConfig's.
Expected<Parsed> parse_config(std::string_view text, const std::string& name);

/// Token ids that a config.json repeats from the tokenizer; -1: left out.
struct TokenIds {
  int bos = -1, eos = -1, pad = -1;
};

/// The text of a config.json that the transformers library builds the same model from, and that
/// parse_config reads back as the same value (fields without effect excepted: they are left out).
/// The config must have no `problems`.
std::string write_config(const ModelConfig& config, const TokenIds& ids = {});

}  // namespace weft::trainer::hf
