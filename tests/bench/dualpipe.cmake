# build/release/tests/recorder_bench [steps [records seconds]]
weft_bench(recorder_bench LINK weft_dualpipe_executor)
