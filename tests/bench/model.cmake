# build/release/tests/model_bench [threads]
weft_bench(model_bench LINK weft_trainer dnnl)
