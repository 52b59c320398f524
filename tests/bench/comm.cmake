# build/release/tests/comm_bench [ranks]
weft_bench(comm_bench LINK weft_comm)
