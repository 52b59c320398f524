# build/release/tests/tokenizer_bench TEXT [MiB]: load time, and encode speed against npm's
weft_bench(tokenizer_bench LINK weft_trainer_tokenizer nlohmann_json::nlohmann_json)
target_compile_definitions(tokenizer_bench PRIVATE
  WEFT_ORACLE_SCRIPT="${PROJECT_SOURCE_DIR}/tests/oracles/tokenizer_peer.mjs"
  WEFT_ORACLE_MODULES="${PROJECT_SOURCE_DIR}/build/oracles/node_modules")
