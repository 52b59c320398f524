# weft_test(<room>/<unit>_test LINK <library>...)
weft_test(dualpipe/schedule_test LINK weft_dualpipe_schedule GTest::gmock)
target_compile_definitions(dualpipe_schedule_test
                           PRIVATE WEFT_GOLDEN_DIR="${CMAKE_CURRENT_SOURCE_DIR}/golden")
weft_test(dualpipe/timeline_test LINK weft_dualpipe_schedule GTest::gmock)
weft_test(dualpipe/check_test LINK weft_dualpipe_schedule GTest::gmock)
weft_test(dualpipe/text_test LINK weft_dualpipe_schedule GTest::gmock)
weft_test(dualpipe/merge_phases_test LINK weft_dualpipe_executor GTest::gmock)
weft_test(dualpipe/executor_test LINK weft_dualpipe_executor GTest::gmock)
