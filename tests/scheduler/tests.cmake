weft_test(scheduler/placement_test LINK weft_scheduler)
weft_test(scheduler/balance_test LINK weft_scheduler)
weft_test(scheduler/topology_test LINK weft_scheduler)
weft_test(scheduler/plan_test LINK weft_scheduler)
