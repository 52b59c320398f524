#include "trainer/model/parameters.h"
