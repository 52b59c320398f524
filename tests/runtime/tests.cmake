# weft_test(<room>/<unit>_test LINK <library>...)

# job, store, cli
find_package(SQLite3 REQUIRED)
weft_test(runtime/job_load_test LINK weft_runtime_job)

# coordinator, control plane
foreach(unit forming checkpoints copies failures asked leading records)
  weft_test(runtime/coordinator_${unit}_test LINK weft_runtime_coordinator)
endforeach()
weft_test(runtime/agent_test LINK weft_runtime_coordinator)
weft_test(runtime/memory_root_test LINK weft_runtime_agent)
weft_test(runtime/recipe_copies_test LABELS multiprocess LINK weft_runtime_worker
          nlohmann_json::nlohmann_json)
weft_test(runtime/copy_nodes_test LINK weft_runtime_worker)
weft_test(runtime/election_test LINK weft_runtime_coordinator)
weft_test(runtime/place_ranks_test LINK weft_runtime_coordinator)
weft_test(runtime/state_json_test LINK weft_runtime_state_json nlohmann_json::nlohmann_json)
find_package(nlohmann_json REQUIRED)
weft_test(runtime/flagged_ranks_test LINK weft_runtime_coordinator_shell)
weft_test(runtime/lease_keeper_test LINK weft_runtime_coordinator_shell)
weft_test(runtime/node_metrics_test LINK weft_runtime_agent)
weft_test(runtime/control_test LABELS multiprocess LINK weft_runtime_control nlohmann_json::nlohmann_json)
weft_test(runtime/channel_test LABELS multiprocess LINK weft_runtime_control weft_runtime_messages)
weft_test(runtime/store_private_directory_test LINK weft_runtime_store)
# engine: whole worlds as threads
weft_test(runtime/engine_layout_test LABELS multiprocess LINK weft_runtime_worker)
weft_test(runtime/engine_gradient_test LABELS multiprocess LINK weft_runtime_worker)
weft_test(runtime/engine_recompute_test LABELS multiprocess LINK weft_runtime_worker)
weft_test(runtime/engine_next_token_test LABELS multiprocess LINK weft_runtime_worker)
weft_test(runtime/engine_precision_test LABELS multiprocess LINK weft_runtime_worker)
weft_test(runtime/engine_snapshot_test LABELS multiprocess LINK weft_runtime_worker)
weft_test(runtime/checkpoint_pace_test LINK weft_runtime_worker)
weft_test(runtime/engine_replay_test LABELS multiprocess LINK weft_runtime_worker)
weft_test(runtime/watch_rules_test LINK weft_runtime_watch_rules)
weft_test(runtime/engine_average_test LABELS multiprocess LINK weft_runtime_worker)
weft_test(runtime/engine_generate_test LABELS multiprocess LINK weft_runtime_worker)
weft_test(runtime/expert_report_test LINK weft_runtime_expert_report nlohmann_json::nlohmann_json)
weft_test(runtime/engine_replicas_test LABELS multiprocess LINK weft_runtime_worker)
# exported files, read by llama.cpp
weft_test(runtime/export_llama_test LABELS multiprocess LINK weft_runtime_worker weft_trainer_exchange)
target_compile_definitions(runtime_export_llama_test PRIVATE WEFT_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                           WEFT_ORACLE_MODULES="${PROJECT_SOURCE_DIR}/build/oracles/node_modules")
# the virtual device on simulated time: whole worlds in one process
weft_test(runtime/virtual_rank_test LABELS sim LINK weft_runtime_virtual)
weft_test(runtime/store_run_store_test LINK weft_runtime_store SQLite::SQLite3)
weft_test(runtime/job_fields_test LINK weft_runtime_job)
weft_test(runtime/job_diagnostics_test LINK weft_runtime_job)
weft_test(runtime/job_fuzz_test LABELS fuzz SOURCES fuzz/job_fuzz.cpp fuzz/kept_inputs.cpp LINK weft_runtime_job)
weft_test(runtime/cli_verbs_test LINK weft_cli)
weft_test(runtime/cli_tokenizer_test LINK weft_cli)
weft_test(runtime/cli_bench_exchange_test LINK weft_cli)
foreach(unit job_fields job_diagnostics job_fuzz cli_verbs)
  target_compile_definitions(runtime_${unit}_test PRIVATE WEFT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
endforeach()

weft_test(runtime/worker_wire_error_test LINK weft_runtime_control nlohmann_json::nlohmann_json)
# whole runs: the real binary as a child process
foreach(unit
    bench_pipeline
    run_asked
    run_ckpt
    run_complete
    run_decided
    run_exchange
    run_failure
    run_input
    run_memory
    run_resume
    run_secrets
    run_student
    run_trace
    run_verbs
    run_watch
  )
  weft_test(runtime/${unit}_test LABELS multiprocess SOURCES runtime/run_harness.cpp
            LINK nlohmann_json::nlohmann_json SQLite::SQLite3)
  target_compile_definitions(runtime_${unit}_test PRIVATE WEFT_BINARY="$<TARGET_FILE:weft>")
  add_dependencies(runtime_${unit}_test weft)
endforeach()
weft_test(runtime/run_refusal_test LABELS multiprocess SOURCES runtime/run_harness.cpp
          LINK weft_runtime_control nlohmann_json::nlohmann_json SQLite::SQLite3)
weft_test(runtime/run_blocked_test LABELS slow TIMEOUT 600 SOURCES runtime/run_harness.cpp
          LINK nlohmann_json::nlohmann_json)
foreach(unit run_refusal run_blocked)
  target_compile_definitions(runtime_${unit}_test PRIVATE WEFT_BINARY="$<TARGET_FILE:weft>")
  add_dependencies(runtime_${unit}_test weft)
endforeach()
# faults below real processes: preloaded, without sanitizers of its own
add_library(weft_faulty_system SHARED runtime/faulty_system.cpp)
target_include_directories(weft_faulty_system PRIVATE ${PROJECT_SOURCE_DIR})
target_compile_options(weft_faulty_system PRIVATE -Wall -Wextra -Wshadow)
target_link_libraries(weft_faulty_system PRIVATE dl)
# faults on real processes: a few rows of the matrix, and all of them
foreach(unit fault_quick fault_matrix)
  if(unit STREQUAL fault_matrix)
    set(labels slow)
  else()
    set(labels multiprocess)
  endif()
  weft_test(runtime/${unit}_test LABELS ${labels} TIMEOUT 900
            SOURCES runtime/fault_matrix.cpp runtime/fault_nodes.cpp runtime/nodes.cpp runtime/fault_matrix_system.cpp runtime/faulty_run.cpp
                    runtime/run_harness.cpp
            LINK nlohmann_json::nlohmann_json fmt::fmt)
  target_compile_definitions(runtime_${unit}_test PRIVATE
      WEFT_BINARY="$<TARGET_FILE:weft>" WEFT_FAULTY_SYSTEM="$<TARGET_FILE:weft_faulty_system>")
  add_dependencies(runtime_${unit}_test weft weft_faulty_system)
endforeach()
# runs over the agents of several nodes
foreach(unit run_nodes run_copies)
  if(unit STREQUAL run_copies)
    set(labels slow)
  else()
    set(labels multiprocess)
  endif()
  weft_test(runtime/${unit}_test LABELS ${labels} TIMEOUT 300
            SOURCES runtime/nodes.cpp runtime/link_cut.cpp runtime/run_harness.cpp
            LINK nlohmann_json::nlohmann_json fmt::fmt)
  target_compile_definitions(runtime_${unit}_test PRIVATE WEFT_BINARY="$<TARGET_FILE:weft>")
  add_dependencies(runtime_${unit}_test weft)
endforeach()
weft_test(runtime/recipe_layout_test LABELS multiprocess LINK weft_runtime_worker
          nlohmann_json::nlohmann_json)
weft_test(runtime/recipe_files_test LABELS multiprocess LINK weft_runtime_worker
          nlohmann_json::nlohmann_json)

# 24 steps and more of a real run, which the sanitizers make long
weft_test(runtime/run_drift_test LABELS slow SOURCES runtime/run_harness.cpp
          LINK nlohmann_json::nlohmann_json SQLite::SQLite3)
target_compile_definitions(runtime_run_drift_test PRIVATE WEFT_BINARY="$<TARGET_FILE:weft>")
add_dependencies(runtime_run_drift_test weft)

# the shipped jobs, whole
weft_test(runtime/run_learning_test LABELS slow TIMEOUT 900 SOURCES runtime/run_harness.cpp
          LINK nlohmann_json::nlohmann_json SQLite::SQLite3)
target_compile_definitions(runtime_run_learning_test PRIVATE WEFT_BINARY="$<TARGET_FILE:weft>"
                           WEFT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
add_dependencies(runtime_run_learning_test weft)
weft_test(runtime/rehearse_test LINK weft_runtime_rehearse weft_trainer_checkpoint)
weft_test(runtime/drift_test LINK weft_runtime_drift)
weft_test(runtime/drift_watch_test LINK weft_runtime_drift_watch)
# planning: shipped clusters and jobs against published systems; bytes against a real engine
weft_test(runtime/cluster_file_test LINK weft_runtime_cluster)
weft_test(runtime/fit_runs_test LINK weft_runtime_fit)
# the GPUs of a machine: the driver's library is stood in for, without sanitizers of its own
foreach(driver fake old)
  add_library(weft_${driver}_nvml MODULE runtime/fake_nvml.cpp)
  target_compile_options(weft_${driver}_nvml PRIVATE -Wall -Wextra -Wshadow)
endforeach()
target_compile_definitions(weft_old_nvml PRIVATE WEFT_OLD_DRIVER)
weft_test(runtime/gpu_cluster_test LINK weft_runtime_gpu weft_runtime_cluster)
weft_test(runtime/gpu_devices_test LINK weft_runtime_gpu ${CMAKE_DL_LIBS})
target_compile_definitions(runtime_gpu_devices_test PRIVATE
    WEFT_FAKE_NVML_LIBRARY="$<TARGET_FILE:weft_fake_nvml>" WEFT_OLD_NVML_LIBRARY="$<TARGET_FILE:weft_old_nvml>")
add_dependencies(runtime_gpu_devices_test weft_fake_nvml weft_old_nvml)
weft_test(runtime/cli_cluster_test LINK weft_cli weft_runtime_cluster weft_runtime_drift_watch)
target_compile_definitions(runtime_cli_cluster_test PRIVATE
    WEFT_SOURCE_DIR="${PROJECT_SOURCE_DIR}" WEFT_FAKE_NVML_LIBRARY="$<TARGET_FILE:weft_fake_nvml>")
add_dependencies(runtime_cli_cluster_test weft_fake_nvml)
weft_test(runtime/probe_runs_test LABELS multiprocess LINK weft_runtime_probe weft_runtime_job weft_runtime_plan)
target_compile_definitions(runtime_probe_runs_test PRIVATE WEFT_BINARY="$<TARGET_FILE:weft>")
add_dependencies(runtime_probe_runs_test weft)
weft_test(runtime/plan_test LINK weft_runtime_cluster weft_runtime_plan weft_trainer_exchange)
weft_test(runtime/memory_model_test LABELS multiprocess LINK weft_runtime_plan weft_runtime_worker)
weft_test(runtime/cli_plan_test LINK weft_cli weft_runtime_cluster)
weft_test(runtime/cli_rehearse_test LINK weft_cli)
foreach(unit cluster_file plan cli_plan cli_rehearse)
  target_compile_definitions(runtime_${unit}_test PRIVATE WEFT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
endforeach()
