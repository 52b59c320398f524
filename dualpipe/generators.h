// The generators behind generate(): each makes compute actions only, for sizes that check_size has
// accepted. Internal to the room.
#pragma once

#include "dualpipe/schedule.h"

namespace weft::dualpipe {

Schedule make_gpipe(const Size& size);
Schedule make_one_f_one_b(const Size& size);
Schedule make_interleaved(const Size& size);
Schedule make_zero_bubble(const Size& size);
Schedule make_zbv(const Size& size);
Schedule make_dualpipe(const Size& size);
Schedule make_dualpipev(const Size& size);

/// A schedule of this kind and size with empty programs.
Schedule empty_schedule(Kind kind, const Size& size);

}  // namespace weft::dualpipe
