# What planning predicts beside what was published: tests/bench/plan_accuracy runs it.
weft_bench(plan_accuracy_bench LINK weft_runtime_cluster weft_runtime_plan)
target_compile_definitions(plan_accuracy_bench PRIVATE WEFT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
target_include_directories(plan_accuracy_bench PRIVATE ${PROJECT_SOURCE_DIR}/tests/runtime)
