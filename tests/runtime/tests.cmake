# weft_test(<room>/<unit>_test LINK <library>...)

# job, store, cli
find_package(SQLite3 REQUIRED)
weft_test(runtime/job_load_test LINK weft_runtime_job)
weft_test(runtime/store_run_store_test LINK weft_runtime_store SQLite::SQLite3)
