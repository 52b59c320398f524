# build/release/tests/comm_bench [ranks]
weft_bench(comm_bench LINK weft_comm)
# tests/bench/comm_peer.sh: the local transport beside Open MPI and memcpy
weft_bench(comm_peer_bench LINK weft_comm)
# build/release/tests/executor_bench: what the executor itself costs
weft_bench(executor_bench LINK weft_dualpipe_executor weft_comm)
find_package(MPI COMPONENTS CXX QUIET)
if(MPI_CXX_FOUND)
  weft_bench(mpi_alltoallv_bench LINK MPI::MPI_CXX)
  target_compile_definitions(mpi_alltoallv_bench PRIVATE OMPI_SKIP_MPICXX)
endif()
