// Several dispatch messages in one: what a relay hands on to a rank of its node. Internal to comm.
//
//   length of each section, uint64 [num_sections] | sections, each padded with zeros to 8
#pragma once

#include "comm/communicator.h"

namespace weft::comm {

inline std::size_t padded_section(std::size_t length) { return (length + 7) / 8 * 8; }

class Sections {
 public:
  /// Checks that the sections fill `message` (aligned to 8) exactly; their contents are still to be
  /// checked. Errors: Corrupt.
  static Expected<Sections> open(ConstBytes message, std::size_t num_sections);

  /// The next section, aligned to 8; call it num_sections times at most.
  ConstBytes next();

 private:
  Sections(ConstBytes lengths, ConstBytes rest) : lengths_(lengths), rest_(rest) {}

  ConstBytes lengths_, rest_;  // what is left of them
};

}  // namespace weft::comm
