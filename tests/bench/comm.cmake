# Run by hand: build/release/tests/comm_bench [ranks]
add_executable(comm_bench ${CMAKE_CURRENT_LIST_DIR}/comm_bench.cpp)
target_link_libraries(comm_bench PRIVATE weft_comm)
