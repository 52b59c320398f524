# weft_test(<room>/<unit>_test LINK <library>...)

# Data and rewards.
foreach(unit data_task data_example data_text data_pack
             rl_grpo rl_reward rl_sampler rl_metrics)
  weft_test(trainer/${unit}_test LINK weft_trainer_data)
endforeach()
# Text to tokens.
foreach(unit bytes bpe hf chat train)
  weft_test(trainer/tokenizer_${unit}_test LINK weft_trainer_tokenizer)
endforeach()
# Against another implementation, by npm: `npm ci` of tests/oracles into the build folder
# (deploy/test.sh does it); where that or node is missing, the tests are skipped and say why.
weft_test(trainer/tokenizer_oracle_test LINK weft_trainer_tokenizer nlohmann_json::nlohmann_json)
target_compile_definitions(trainer_tokenizer_oracle_test PRIVATE
  WEFT_ORACLE_SCRIPT="${PROJECT_SOURCE_DIR}/tests/oracles/tokenizer_peer.mjs"
  WEFT_ORACLE_MODULES="${PROJECT_SOURCE_DIR}/build/oracles/node_modules")
# checkpoints
weft_test(trainer/checkpoint_write_test LINK weft_trainer_checkpoint)
# Kernels, model, optimizer.
weft_test(trainer/model_gradient_test LINK weft_trainer_f64)
weft_test(trainer/model_next_token_test LINK weft_trainer_f64)
weft_test(trainer/model_reference_test LINK weft_trainer_f64)
weft_test(trainer/checkpoint_safetensors_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_manifest_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_verify_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_catalog_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_faults_test TIMEOUT 300 LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_saver_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_prune_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_reshard_test LINK weft_trainer_checkpoint)
weft_test(trainer/kernels_matmul_test LINK weft_trainer)
weft_test(trainer/kernels_matmul_bf16_test LINK weft_trainer)
weft_test(trainer/kernels_rowwise_test LINK weft_trainer)
weft_test(trainer/kernels_attention_test LINK weft_trainer)
weft_test(trainer/kernels_router_test LINK weft_trainer)
weft_test(trainer/optimizer_adamw_test LINK weft_trainer)
weft_test(trainer/optimizer_curve_test LINK weft_trainer_data)
weft_test(trainer/optimizer_average_test LINK weft_trainer)
weft_test(trainer/model_config_test LINK weft_trainer weft_trainer_hf)
weft_test(trainer/model_stage_test LINK weft_trainer)
weft_test(trainer/model_allocation_test LINK weft_trainer)
weft_test(trainer/model_recompute_test LINK weft_trainer)
weft_test(trainer/model_precision_test LINK weft_trainer)
weft_test(trainer/precision_learning_test LABELS slow TIMEOUT 900 LINK weft_trainer)
weft_test(trainer/hf_config_test LINK weft_trainer_hf)
target_compile_definitions(trainer_hf_config_test PRIVATE WEFT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
# weights on their way out and in
foreach(unit hf_export hf_import hf_memory hf_number_formats gguf_header gguf_deepseek2)
  weft_test(trainer/${unit}_test LINK weft_trainer_exchange)
endforeach()
target_link_libraries(trainer_hf_number_formats_test PRIVATE weft_trainer_fp8)
weft_test(trainer/exchange_readers_test LINK weft_trainer_exchange nlohmann_json::nlohmann_json)
target_compile_definitions(trainer_exchange_readers_test PRIVATE WEFT_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                           WEFT_ORACLE_MODULES="${PROJECT_SOURCE_DIR}/build/oracles/node_modules")
# Files as data.
find_package(ZLIB REQUIRED)
weft_test(trainer/corpus_test LINK weft_trainer_corpus ZLIB::ZLIB GTest::gmock)
# FP8.
foreach(unit fp8_codec fp8_tiles fp8_product)
  weft_test(trainer/${unit}_test LINK weft_trainer_fp8)
endforeach()
weft_test(trainer/fp8_linear_test LINK weft_trainer)
weft_test(trainer/model_fp8_test LINK weft_trainer)
weft_test(trainer/fp8_training_test LABELS slow TIMEOUT 600 LINK weft_trainer)
