# build/release/tests/checkpoint_bench io [MiB [DIR [rounds]]] | metadata [DIR]
weft_bench(checkpoint_bench LINK weft_trainer_checkpoint)
