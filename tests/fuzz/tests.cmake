# weft_fuzz(<target>_fuzz LINK <library>...): a libFuzzer target, replayed here over a seeded batch as an
# ordinary test. To explore: clang++ with -fsanitize=fuzzer,address, the target's file without replay_main.cpp.
function(weft_fuzz name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  add_executable(fuzz_${name} fuzz/${name}.cpp fuzz/replay_main.cpp)
  target_link_libraries(fuzz_${name} PRIVATE ${ARG_LINK} weft_base weft_options)
  add_test(NAME fuzz/${name} COMMAND fuzz_${name})
  set_tests_properties(fuzz/${name} PROPERTIES LABELS "fuzz" TIMEOUT 120)
endfunction()

weft_fuzz(safetensors_header_fuzz LINK weft_trainer_checkpoint)
weft_fuzz(checkpoint_manifest_fuzz LINK weft_trainer_checkpoint)
weft_fuzz(expert_messages_fuzz LINK weft_comm)
weft_fuzz(ring_fuzz LINK weft_dualpipe_executor)
weft_fuzz(gguf_header_fuzz LINK weft_trainer_exchange)
weft_fuzz(hf_index_fuzz LINK weft_trainer_exchange)
weft_fuzz(jsonl_fuzz LINK weft_trainer_corpus nlohmann_json::nlohmann_json)
weft_fuzz(tokenizer_json_fuzz LINK weft_trainer_tokenizer)
weft_fuzz(config_json_fuzz LINK weft_trainer_hf)
