# Whole clusters on simulated time: the harness, and weft-sim for more seeds than the tests run.
add_library(weft_sim_harness STATIC sim/checker.cpp sim/scenario.cpp)
target_link_libraries(weft_sim_harness PUBLIC weft_runtime_sim)
add_executable(weft-sim sim/weft_sim.cpp)
target_link_libraries(weft-sim PRIVATE weft_sim_harness weft_options)
