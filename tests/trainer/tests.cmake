# weft_test(<room>/<unit>_test LINK <library>...)

# Data and rewards.
foreach(unit data_tokenizer data_task data_example data_text data_pack
             rl_grpo rl_reward rl_sampler rl_metrics)
  weft_test(trainer/${unit}_test LINK weft_trainer_data)
endforeach()
# checkpoints
weft_test(trainer/checkpoint_write_test LINK weft_trainer_checkpoint)
# Kernels, model, optimizer.
weft_test(trainer/model_gradient_test LINK weft_trainer_f64)
weft_test(trainer/checkpoint_safetensors_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_manifest_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_verify_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_catalog_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_faults_test LINK weft_trainer_checkpoint)
weft_test(trainer/kernels_matmul_test LINK weft_trainer)
weft_test(trainer/kernels_rowwise_test LINK weft_trainer)
weft_test(trainer/kernels_attention_test LINK weft_trainer)
weft_test(trainer/kernels_router_test LINK weft_trainer)
weft_test(trainer/optimizer_adamw_test LINK weft_trainer)
weft_test(trainer/model_config_test LINK weft_trainer weft_trainer_hf)
weft_test(trainer/model_stage_test LINK weft_trainer)
weft_test(trainer/model_allocation_test LINK weft_trainer)
weft_test(trainer/model_recompute_test LINK weft_trainer)
weft_test(trainer/model_precision_test LINK weft_trainer)
weft_test(trainer/hf_config_test LINK weft_trainer_hf)
target_compile_definitions(trainer_hf_config_test PRIVATE WEFT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
# FP8.
foreach(unit fp8_codec fp8_tiles fp8_product)
  weft_test(trainer/${unit}_test LINK weft_trainer_fp8)
endforeach()
weft_test(trainer/fp8_linear_test LINK weft_trainer)
