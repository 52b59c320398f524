weft_test(comm/conformance_test LINK weft_comm)
weft_test(comm/expert_exchange_test LINK weft_comm)
