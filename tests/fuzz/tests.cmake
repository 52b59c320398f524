# weft_fuzz(<target>_fuzz LINK <library>...): a libFuzzer target, replayed here over a seeded batch as an
# ordinary test together with its kept corpus. To explore: the preset fuzz (clang), then tests/fuzz/explore.sh.
function(weft_fuzz name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  if(WEFT_FUZZ)
    add_executable(fuzz_${name} fuzz/${name}.cpp)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  else()
    add_executable(fuzz_${name} fuzz/${name}.cpp fuzz/replay_main.cpp fuzz/kept_inputs.cpp)
    string(REGEX REPLACE "_fuzz$" "" target ${name})
    target_compile_definitions(fuzz_${name} PRIVATE
      WEFT_FUZZ_CORPUS="${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${target}.txt")
    add_test(NAME fuzz/${name} COMMAND fuzz_${name})
    set_tests_properties(fuzz/${name} PROPERTIES LABELS "fuzz" TIMEOUT 120)
  endif()
  target_link_libraries(fuzz_${name} PRIVATE ${ARG_LINK} weft_base weft_options)
endfunction()

weft_fuzz(safetensors_header_fuzz LINK weft_trainer_checkpoint)
weft_fuzz(checkpoint_manifest_fuzz LINK weft_trainer_checkpoint)
weft_fuzz(expert_messages_fuzz LINK weft_comm)
weft_fuzz(tcp_frames_fuzz LINK weft_comm)
weft_fuzz(ring_fuzz LINK weft_dualpipe_executor)
weft_fuzz(gguf_header_fuzz LINK weft_trainer_exchange)
weft_fuzz(hf_index_fuzz LINK weft_trainer_exchange)
weft_fuzz(jsonl_fuzz LINK weft_trainer_corpus nlohmann_json::nlohmann_json)
weft_fuzz(tokenizer_json_fuzz LINK weft_trainer_tokenizer)
weft_fuzz(config_json_fuzz LINK weft_trainer_hf)
weft_fuzz(control_messages_fuzz LINK weft_runtime_messages nlohmann_json::nlohmann_json)
weft_fuzz(journal_state_fuzz LINK weft_runtime_state_json nlohmann_json::nlohmann_json)
if(WEFT_FUZZ)  # its test is runtime/job_fuzz_test
  weft_fuzz(job_fuzz LINK weft_runtime_job nlohmann_json::nlohmann_json)
endif()

# Between a kept corpus (corpus/<target>.txt) and a directory that libFuzzer reads; explore.sh uses it.
add_executable(fuzz_kept EXCLUDE_FROM_ALL fuzz/kept_main.cpp fuzz/kept_inputs.cpp)
target_link_libraries(fuzz_kept PRIVATE weft_base weft_options)
