# weft_test(<room>/<unit>_test LINK <library>...)

# checkpoints
weft_test(trainer/checkpoint_write_test LINK weft_trainer_checkpoint)
