# weft_test(<room>/<unit>_test LINK <library>...)

# job, store, cli
weft_test(runtime/job_load_test LINK weft_runtime_job)
