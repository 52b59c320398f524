# weft_test(<room>/<unit>_test LINK <library>...)

# Kernels, model, optimizer.
weft_test(trainer/model_gradient_test LINK weft_trainer_f64)
weft_test(trainer/kernels_matmul_test LINK weft_trainer)
weft_test(trainer/kernels_rowwise_test LINK weft_trainer)
weft_test(trainer/kernels_attention_test LINK weft_trainer)
weft_test(trainer/kernels_router_test LINK weft_trainer)
weft_test(trainer/optimizer_adamw_test LINK weft_trainer)
weft_test(trainer/model_config_test LINK weft_trainer)
weft_test(trainer/model_stage_test LINK weft_trainer)
weft_test(trainer/model_allocation_test LINK weft_trainer)
