weft_test(base/rng_test LINK weft_base)
weft_test(base/units_test LINK weft_base)
weft_test(base/files_test LINK weft_base)
weft_test(base/small_floats_test LINK weft_base)
