weft_test(scheduler/placement_test LINK weft_scheduler)
