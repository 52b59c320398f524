// Checkpoints: write_shard on every rank, commit on one, newest_complete and Reader to come back.
// Independent of the model: tensors are named float arrays, the trainer's state is text.
#pragma once

#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/commit.h"
#include "trainer/checkpoint/prune.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/checkpoint/shard.h"
#include "trainer/checkpoint/verify.h"
