# weft_test(<room>/<unit>_test LINK <library>...)

# checkpoints
weft_test(trainer/checkpoint_write_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_safetensors_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_manifest_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_verify_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_catalog_test LINK weft_trainer_checkpoint)
weft_test(trainer/checkpoint_faults_test LINK weft_trainer_checkpoint)
