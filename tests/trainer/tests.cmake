# weft_test(<room>/<unit>_test LINK <library>...)

# Kernels, model, optimizer.
weft_test(trainer/model_gradient_test LINK weft_trainer_f64)
