weft_test(comm/conformance_test LABELS multiprocess LINK weft_comm)
weft_test(comm/expert_exchange_test LABELS multiprocess LINK weft_comm)
weft_test(comm/allocation_test LINK weft_comm)
weft_test(comm/local_world_test LABELS multiprocess LINK weft_comm)
