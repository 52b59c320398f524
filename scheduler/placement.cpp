#include "dualpipe/schedule.h"
