# build/release/tests/model_bench [threads]
weft_bench(model_bench LINK weft_trainer dnnl)
# tests/bench/model_peer.sh: a training step beside PyTorch's
weft_bench(model_peer_bench LINK weft_trainer dnnl)
