# build/release/tests/control_bench: what one coordinator costs at 2,048 and 16,384 ranks
find_library(ZMQ_LIBRARY zmq REQUIRED)
weft_bench(control_bench SOURCES bench/control_agents.cpp
           LINK weft_runtime_control weft_runtime_messages weft_runtime_coordinator weft_runtime_peers weft_runtime_coordinator_shell nlohmann_json::nlohmann_json ${ZMQ_LIBRARY})
