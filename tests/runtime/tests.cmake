# weft_test(<room>/<unit>_test LINK <library>...)

# job, store, cli
find_package(SQLite3 REQUIRED)
weft_test(runtime/job_load_test LINK weft_runtime_job)

# coordinator, control plane
weft_test(runtime/coordinator_test LINK weft_runtime_coordinator)
find_package(nlohmann_json REQUIRED)
weft_test(runtime/control_test LABELS multiprocess LINK weft_runtime_control nlohmann_json::nlohmann_json)
# engine: whole worlds as threads
weft_test(runtime/engine_layout_test LABELS multiprocess LINK weft_runtime_worker)
weft_test(runtime/engine_generate_test LABELS multiprocess LINK weft_runtime_worker)
weft_test(runtime/store_run_store_test LINK weft_runtime_store SQLite::SQLite3)
