#include "dualpipe/executor.h"
