# build/release/tests/main_job_bench [job.yaml]
weft_bench(main_job_bench LINK weft_runtime_worker dnnl)
target_compile_definitions(main_job_bench
                           PRIVATE WEFT_MAIN_JOB="${PROJECT_SOURCE_DIR}/deploy/jobs/r1-zero-arithmetic.yaml")
weft_bench(next_token_bench LINK weft_runtime_worker fmt::fmt)
# build/release/tests/rollout_bench: redundant experts in rollout
weft_bench(rollout_bench LINK weft_runtime_worker fmt::fmt)
