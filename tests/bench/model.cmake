# Include from tests/CMakeLists.txt to build `model_bench` (by hand, never with `all`).
add_executable(model_bench EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/model_bench.cpp)
target_link_libraries(model_bench PRIVATE weft_trainer weft_options dnnl)
