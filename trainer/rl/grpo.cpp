#include "trainer/rl/grpo.h"
