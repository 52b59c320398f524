# build/release/tests/topology_bench
weft_bench(topology_bench LINK weft_scheduler)
